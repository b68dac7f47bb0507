/** A run's history as comma-separated values: a header line, and a line a step. */
import type { StepMetrics } from "./types.ts";

const COLUMNS = [
  "step",
  "trainLoss",
  "gradNorm",
  "learningRate",
  "tokens",
  "valLoss",
  "committedMs",
  "trainNatsPerByte",
  "valNatsPerByte",
  "results",
  "chain",
] as const satisfies readonly (keyof StepMetrics)[];

export const CSV_HEADER = COLUMNS.join(",");

/** What there is none of is empty. No value has a comma or a quote. */
export function csvLine(metrics: StepMetrics): string {
  return COLUMNS.map((column) => metrics[column] ?? "").join(",");
}
