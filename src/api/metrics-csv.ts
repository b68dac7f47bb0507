/** A run's history as comma-separated values: a header line, and a line a step. */
import type { StepPhases } from "./lease.ts";
import type { StepMetrics } from "./run-metrics.ts";

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

/** Behind those. */
const PHASE_COLUMNS = [
  "leaseMs",
  "pullMs",
  "computeMs",
  "pushMs",
  "commitMs",
  "pulledBytes",
  "pushedBytes",
] as const satisfies readonly (keyof StepPhases)[];

export const CSV_HEADER = [...COLUMNS, ...PHASE_COLUMNS].join(",");

/** What there is none of is empty. No value has a comma or a quote. */
export function csvLine(metrics: StepMetrics): string {
  return [
    ...COLUMNS.map((column) => metrics[column] ?? ""),
    // What an earlier release kept has none.
    ...PHASE_COLUMNS.map((column) => metrics.phases?.[column] ?? ""),
  ].join(",");
}
