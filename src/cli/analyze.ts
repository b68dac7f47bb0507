import { openAsBlob } from "node:fs";
import { defineCommand } from "citty";
import type { Analysis, AnalyzeOptions } from "../api/tensors.ts";
import { planAnalysis } from "../formats/operations/analyze-file.ts";
import { run } from "../formats/stream/conversion.ts";
import { readInput } from "../formats/containers/input.ts";
import { namedSchemes } from "../formats/operations/named-schemes.ts";
import { rawOf, schemeOf, selectionOf } from "../formats/operations/plan.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { renderAnalysis } from "./analysis-table.ts";
import { Bar } from "./bar.ts";
import { edgeOf } from "./convert-file.ts";
import {
  type Arguments,
  checkArguments,
  fileArguments,
  schemeArguments,
  schemeFrom,
  selectionArguments,
  selectionFrom,
} from "./file-arguments.ts";
import { OpenFile } from "./files.ts";

const args = {
  ...fileArguments,
  ...schemeArguments,
  ...selectionArguments,
  compare: {
    type: "string",
    valueHint: "SCHEMES",
    description: "Presets, `all`, or options as in scale=even;hadamard=64",
  },
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
    const { file, compare, json } = context.args;
    const options: AnalyzeOptions = {
      ...schemeFrom(given),
      ...selectionFrom(given),
      ...(compare === undefined ? {} : { compare: compare.split(",") }),
    };
    const analysis = await analysisOf(file, given, options);
    console.log(
      json ? JSON.stringify(analysis, null, 2) : renderAnalysis(analysis),
    );
  },
});

async function analysisOf(
  file: string,
  given: Arguments,
  options: AnalyzeOptions,
): Promise<Analysis> {
  if (given.url !== undefined)
    return edgeOf(given).analyze(await openAsBlob(file), options);
  loadKernelsFile();
  const bar = new Bar("analyze");
  const source = await OpenFile.open(file, (bytes) => bar.add(bytes));
  try {
    bar.begin(source.bytes);
    const input = await readInput(source, source.bytes, rawOf(options));
    const schemes = namedSchemes(schemeOf(options), options.compare);
    const selection = selectionOf(options);
    const { conversion, report } = planAnalysis(input, schemes, selection);
    for await (const _ of run(conversion, source)); // it has no output
    return report();
  } finally {
    bar.end();
    await source.close();
  }
}
