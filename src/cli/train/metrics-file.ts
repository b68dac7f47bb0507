/**
 * A run's metrics as JSON lines, the same as `GET /v1/runs/:run/metrics`. Each is written when its step is
 * committed, so a run that is cancelled or killed leaves all that it had.
 */
import { appendFileSync, writeFileSync } from "node:fs";
import type { RunEvent, StepMetrics } from "../../api/types.ts";

export class MetricsFile {
  readonly #file: string;
  #nextStep = 0;

  /** Begins the file; one that is there already only if it is to be overwritten. */
  constructor(file: string, overwrites: boolean) {
    writeFileSync(file, "", { flag: overwrites ? "w" : "wx" });
    this.#file = file;
  }

  event(event: RunEvent): void {
    if (event.type === "step") this.#append([event.metrics]);
  }

  /** What no event told: steps that are long past, the evaluation after the last step. */
  complete(metrics: readonly StepMetrics[]): void {
    this.#append(metrics);
  }

  #append(all: readonly StepMetrics[]): void {
    const metrics = all.filter(({ step }) => step >= this.#nextStep);
    const lines = metrics.map((each) => `${JSON.stringify(each)}\n`);
    appendFileSync(this.#file, lines.join(""));
    this.#nextStep = (metrics.at(-1)?.step ?? this.#nextStep - 1) + 1;
  }
}
