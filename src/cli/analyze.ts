import { defineCommand } from "citty";
import { ANALYZE_OPTIONS } from "../api/options.ts";
import type { Analysis, AnalyzeOptions } from "../api/tensors.ts";
import { readTensorFile } from "../formats/containers/containers.ts";
import { analysisOf, rawOf } from "../formats/operations/file-operation.ts";
import { run } from "../formats/stream/conversion.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { renderAnalysis } from "./analysis-table.ts";
import { Bar } from "./bar.ts";
import { edgeOf } from "./convert-file.ts";
import {
  type Arguments,
  checkArguments,
  fileArguments,
} from "./file-arguments.ts";
import { fileBlob, OpenFile } from "./files.ts";
import { argumentsOf, optionsFrom } from "./option-arguments.ts";
import { withInput } from "./stdio.ts";

const args = {
  ...fileArguments,
  ...argumentsOf(ANALYZE_OPTIONS),
  json: { type: "boolean", description: "Figures as JSON, not as a table" },
} as const;

export const analyzeCommand = defineCommand({
  meta: {
    name: "analyze",
    description: "What quantizing would do to each tensor, by several schemes",
  },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const { file, json } = context.args as { file: string; json?: boolean };
    const options = optionsFrom(ANALYZE_OPTIONS, given);
    const analysis = await withInput(file, (path) =>
      analyzeFile(path, given, options),
    );
    console.log(
      json ? JSON.stringify(analysis, null, 2) : renderAnalysis(analysis),
    );
  },
});

async function analyzeFile(
  file: string,
  given: Arguments,
  options: AnalyzeOptions,
): Promise<Analysis> {
  if (given.url !== undefined)
    return edgeOf(given).analyze(await fileBlob(file), options);
  const planned = analysisOf(options);
  loadKernelsFile();
  const bar = new Bar("analyze");
  const source = await OpenFile.open(file, (bytes) => bar.add(bytes));
  try {
    bar.begin(source.bytes);
    const input = await readTensorFile(source, source.bytes, rawOf(options));
    const { conversion, report } = planned(input);
    for await (const _ of run(conversion, source)); // it has no output
    return report();
  } finally {
    bar.end();
    await source.close();
  }
}
