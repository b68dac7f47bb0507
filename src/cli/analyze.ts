import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineCommand } from "citty";
import { ANALYZE_FOLDER_OPTIONS } from "../api/options.ts";
import type { Analysis, AnalyzeFolderOptions } from "../api/tensors.ts";
import { planFolderAnalysis } from "../checkpoints/analyze-plan.ts";
import { fileAnalysis } from "../checkpoints/file-analysis.ts";
import { readNorms } from "../checkpoints/fold.ts";
import { checkFolderRequest } from "../checkpoints/folder-request.ts";
import { readFolder } from "../checkpoints/read-heads.ts";
import { readInOrder } from "../checkpoints/tensor-reads.ts";
import { bytesOfRuns } from "../formats/stream/file-range.ts";
import { run } from "../formats/stream/conversion.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { isDirectory } from "../local/folders.ts";
import { flag } from "./argument.ts";
import { renderAnalysis } from "./analysis-table.ts";
import { Bar } from "./bar.ts";
import { convertByJob } from "./convert-by-job.ts";
import { edgeOf } from "./convert-file.ts";
import {
  type Arguments,
  checkArguments,
  fileArguments,
  UsageError,
} from "./file-arguments.ts";
import { fileBlob } from "./files.ts";
import { argumentsOf, optionsFrom } from "./option-arguments.ts";
import { openedFiles, localFolder } from "./ranged-files.ts";
import { checkThere, withInput } from "./stdio.ts";
import { printAnswer } from "./print-answer.ts";
import { openTensorFile } from "./open-tensor-file.ts";

const args = {
  ...fileArguments,
  file: {
    ...fileArguments.file,
    description: `${fileArguments.file.description}; or a model's directory`,
  },
  ...argumentsOf(ANALYZE_FOLDER_OPTIONS),
  json: flag("Print JSON instead of a table"),
} as const;

export const analyzeCommand = defineCommand({
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const { file, json } = context.args as { file: string; json?: boolean };
    const options = optionsFrom(ANALYZE_FOLDER_OPTIONS, given);
    const analysis = isDirectory(file)
      ? await analyzeDirectory(file, given, options)
      : await withInput(file, (path) => analyzeFile(path, given, options));
    printAnswer(json, analysis, renderAnalysis);
  },
});

async function analyzeFile(
  file: string,
  given: Arguments,
  options: AnalyzeFolderOptions,
): Promise<Analysis> {
  if (options.rotate !== undefined) {
    checkThere(file);
    throw new UsageError(
      "Expected a model directory with --rotate, got a file",
    );
  }
  if (given.url !== undefined)
    return edgeOf(given).analyze(await fileBlob(file), options);
  const planned = fileAnalysis(options);
  loadKernelsFile();
  const bar = new Bar("analyze");
  const { input, source } = await openTensorFile(
    file,
    options,
    (bytes) => bar.begin(bytes),
    (bytes) => bar.add(bytes),
  );
  try {
    const { conversion, report } = planned(input);
    for await (const _ of run(conversion, source)); // the report again
    return report();
  } finally {
    bar.end();
    await source.close();
  }
}

/** Analyzes a model's directory, here or by a job on an edge. */
async function analyzeDirectory(
  path: string,
  given: Arguments,
  options: AnalyzeFolderOptions,
): Promise<Analysis> {
  const request = { operation: "analyze", options } as const;
  checkFolderRequest(request);
  if (given.url !== undefined) {
    const folder = await mkdtemp(join(tmpdir(), "mxfp4-edge-analysis-"));
    try {
      const report = join(folder, "report.json");
      await convertByJob(edgeOf(given), path, report, request);
      return JSON.parse(await readFile(report, "utf8")) as Analysis;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
  const folder = localFolder(path);
  const plan = planFolderAnalysis(await readFolder(folder), options);
  loadKernelsFile();
  const files = await openedFiles([...plan.norms, ...plan.reads], (file) =>
    folder.open(file),
  );
  const norms = await readNorms(plan, ({ file, start, end }) =>
    files.get(file)!.read(start, end),
  );
  const { conversion, report } = plan.open(norms);
  const bar = new Bar("analyze");
  bar.begin(bytesOfRuns(plan.reads));
  try {
    const source = readInOrder(plan.reads, files, (bytes) => bar.add(bytes), {
      readsAhead: true,
    });
    for await (const _ of run(conversion, source)); // the report again
    return report();
  } finally {
    bar.end();
  }
}
