/** Exports a run's metrics as CSV, JSON lines, or for TensorBoard. */
import { readFileSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { type ArgsDef, defineCommand } from "citty";
import { AppError } from "../api/errors.ts";
import { CSV_HEADER, csvLine } from "../api/metrics-csv.ts";
import type { StepMetrics } from "../api/run-metrics.ts";
import { oneOf } from "./argument.ts";
import { makeFolder } from "../local/make-folder.ts";
import {
  clientOf,
  edgeArguments,
  runArgument,
  runOf,
} from "./edge-arguments.ts";
import {
  type Arguments,
  checkArguments,
  outputArguments,
  UsageError,
} from "./file-arguments.ts";
import { checkNamedFor, type OutputKind } from "./output-kind.ts";
import { checkOutputOrStdout, STANDARD, writeOutput } from "./stdio.ts";
import { tell } from "./tell.ts";
import { eventFile, eventFileName } from "./tensorboard/event-file.ts";

const FORMATS = ["csv", "jsonl", "tensorboard"] as const;
type Format = (typeof FORMATS)[number];

const WRITTEN = {
  csv: "CSV",
  jsonl: "JSON lines",
  tensorboard: "a folder",
} as const satisfies Record<Format, OutputKind>;
const FORMAT_OF = {
  CSV: "--format csv writes CSV",
  "JSON lines": "--format jsonl writes JSON lines",
} as const;

/** As `train` stores them next to a checkpoint. */
const KEPT = "metrics.jsonl";

const args = {
  run: {
    ...runArgument.run,
    description:
      "Id of a run of the edge; or the folder of one that `train` has kept, or its metrics.jsonl",
  },
  format: oneOf(
    FORMATS,
    "Output format; csv has a header line, tensorboard writes an event file",
    "csv",
  ),
  output: {
    ...outputArguments.output,
    required: false,
    description:
      "File to write (default: stdout); for tensorboard, the folder to pass to it as --logdir, in which the run gets a folder",
  },
  force: outputArguments.force,
  json: outputArguments.json,
  url: edgeArguments.url,
  token: edgeArguments.token,
} satisfies ArgsDef;

export const runsExportCommand = defineCommand({
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const format = given.format as Format;
    const output = given.output as string | undefined;
    if (format === "tensorboard" && (output ?? STANDARD) === STANDARD) {
      throw new UsageError(
        "Expected --output to name a folder with --format tensorboard, got none",
      );
    }
    if (output !== undefined) checkNamedFor(output, WRITTEN[format], FORMAT_OF);
    const { name, metrics } = await historyOf(given);
    if (metrics.length === 0)
      throw new AppError(
        "future_step",
        `Expected a run with a committed step, got ${name}, which has none yet`,
      );
    const isForced = given.force === true;
    const path =
      format === "tensorboard"
        ? join(output!, await folderOf(given, name), eventFileName(metrics))
        : (output ?? STANDARD);
    if (format === "tensorboard") makeFolder(dirname(path));
    checkOutputOrStdout(path, isForced);
    const bytes = await writeOutput(path, chunksOf(format, metrics));
    if (path === STANDARD) return;
    tell(given.json === true, `${path}: ${metrics.length} steps of ${name}`, {
      run: name,
      steps: metrics.length,
      output: path,
      bytesWritten: bytes,
    });
  },
});

/** Metrics of a run kept here, or of one on the edge. */
async function historyOf(
  given: Arguments,
): Promise<{ name: string; metrics: readonly StepMetrics[] }> {
  const run = given.run as string;
  const found = statSync(run, { throwIfNoEntry: false });
  if (!found) return { name: run, metrics: await runOf(given).metrics() };
  const file = resolve(found.isDirectory() ? join(run, KEPT) : run);
  if (!statSync(file, { throwIfNoEntry: false })) {
    throw new AppError(
      "file_not_found",
      `Expected a run's id, or a folder with ${KEPT}, got ${run}`,
    );
  }
  return { name: basename(dirname(file)), metrics: linesOf(file) };
}

/** TensorBoard shows a run by its folder's name: the run's name, if it has one on the edge, and id. */
async function folderOf(given: Arguments, run: string): Promise<string> {
  if (statSync(given.run as string, { throwIfNoEntry: false })) return run;
  const runs = await clientOf(given).runs();
  const name = runs.find((each) => each.run === run)?.name ?? null;
  // Characters that some file systems do not allow in names.
  return name === null ? run : `${name.replace(/[\\/:*?"<>|]/g, "_")} (${run})`;
}

function linesOf(file: string): readonly StepMetrics[] {
  const lines = readFileSync(file, "utf8").split("\n").filter(Boolean);
  return lines.map((line, index) => {
    try {
      const metrics = JSON.parse(line) as StepMetrics;
      if (Number.isInteger(metrics.step)) return metrics;
    } catch {
      // Reported below, as a line without a step.
    }
    throw new AppError(
      "malformed_body",
      `Expected ${file} to have a step's metrics on each line, got "${line.slice(0, 40)}" on line ${index + 1}`,
    );
  });
}

function chunksOf(
  format: Format,
  metrics: readonly StepMetrics[],
): AsyncIterable<Uint8Array> {
  if (format === "tensorboard") return inTurn(eventFile(metrics));
  const lines =
    format === "csv"
      ? [CSV_HEADER, ...metrics.map(csvLine)]
      : metrics.map((each) => JSON.stringify(each));
  const encoder = new TextEncoder();
  return inTurn(lines.map((line) => encoder.encode(`${line}\n`)));
}

async function* inTurn(
  chunks: Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  yield* chunks;
}
