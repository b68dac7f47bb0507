/** The outcome of a finished run: a JSON file named by its trial's key, so that no run is trained twice. */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeFolder } from "../../local/make-folder.ts";
import { parsedObject } from "../../api/json.ts";
import type { RunRequest } from "../../api/run-config.ts";
import type { StepMetrics } from "../../api/run-metrics.ts";

/** At an evaluation: the held-out loss, and the mean training loss since the previous point. */
export type CurvePoint = {
  step: number;
  trainLoss: number | null;
  valLoss: number | null;
};

export type Outcome = {
  key: string;
  request: RunRequest;
  /** On the whole held-out split, in nats per byte; null if the run diverged. */
  valLoss: number | null;
  seconds: number;
  machine: { cpu: string; cores: number; jobs: number; fingerprint: string };
  curve: CurvePoint[];
};

/** Written atomically. */
export function keepOutcome(folder: string, outcome: Outcome): void {
  makeFolder(folder);
  const file = join(folder, `${outcome.key}.json`);
  writeFileSync(`${file}.tmp`, `${JSON.stringify(outcome)}\n`);
  renameSync(`${file}.tmp`, file);
}

export function keptOutcome(folder: string, key: string): Outcome | undefined {
  const file = join(folder, `${key}.json`);
  if (!existsSync(file)) return undefined;
  const outcome = parsedObject(readFileSync(file, "utf8"));
  if (outcome) return outcome as Outcome;
  throw new Error(
    `Expected a finished run in ${file}, got other text; without that file the run is made again`,
  );
}

export function curveOf(metrics: readonly StepMetrics[]): CurvePoint[] {
  const points: CurvePoint[] = [];
  let since: number[] = [];
  for (const { step, trainLoss, valLoss } of metrics) {
    if (valLoss !== null) {
      points.push({ step, trainLoss: mean(since), valLoss });
      since = [];
    }
    if (trainLoss !== null) since.push(trainLoss);
  }
  return points;
}

function mean(values: number[]): number | null {
  if (values.length === 0) return null;
  const sum = values.reduce((total, value) => total + value, 0);
  return Number((sum / values.length).toFixed(5));
}
