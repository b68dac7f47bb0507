/** A line on how trainers' time was spent, and the bytes transferred. */
import type { StepPhases } from "../api/lease.ts";
import type { StepMetrics } from "../api/run-metrics.ts";

const PHASES = {
  computeMs: "computing",
  leaseMs: "waiting for leases",
  pullMs: "pulling",
  pushMs: "pushing",
} as const;

/** Undefined if no step has phases. */
export function timeSpent(metrics: readonly StepMetrics[]): string | undefined {
  const steps = metrics.flatMap(({ phases }) => phases ?? []);
  const told = (key: keyof StepPhases) =>
    steps.flatMap((each) => each[key] ?? []);
  const total = (key: keyof StepPhases) =>
    told(key).reduce((sum, value) => sum + value, 0);
  const mean = (key: keyof StepPhases) =>
    total(key) / Math.max(1, told(key).length);
  const keys = Object.keys(PHASES) as (keyof typeof PHASES)[];
  const all = keys.reduce((sum, key) => sum + total(key), 0);
  if (all === 0) return undefined;
  const shares = keys.map(
    (key) => `${((100 * total(key)) / all).toFixed(1)} % ${PHASES[key]}`,
  );
  const megabytes = (key: keyof StepPhases) =>
    `${(mean(key) / 1e6).toFixed(1)} MB`;
  return (
    `trainers' time: ${shares.join(", ")}; ` +
    `a step: ${mean("commitMs").toFixed(0)} ms to commit, ${megabytes("pulledBytes")} pulled, ${megabytes("pushedBytes")} pushed`
  );
}
