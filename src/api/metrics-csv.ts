/** A run's history as comma-separated values: a header line, then a line per step. */
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

/** After those. */
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

/** Missing values are empty. No value contains a comma or a quote. */
export function csvLine(metrics: StepMetrics): string {
  return [
    ...COLUMNS.map((column) => metrics[column] ?? ""),
    // Steps stored by earlier releases have no phases.
    ...PHASE_COLUMNS.map((column) => metrics.phases?.[column] ?? ""),
  ].join(",");
}
