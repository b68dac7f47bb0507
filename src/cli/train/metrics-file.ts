/**
 * A run's metrics as JSON lines, the same as `GET /v1/runs/:run/metrics`. Each is written when its step is
 * committed, so a run that is cancelled or killed leaves all that it had.
 */
import { readFileSync, writeFileSync } from "node:fs";
import type { RunEvent, StepMetrics } from "../../api/run-metrics.ts";

export class MetricsFile {
  readonly #file: string;
  /** Of the next line: the first begins the file, so that a run killed before it is not in the next one's way. */
  #flag: "w" | "wx" | "a";
  #nextStep = 0;

  /** One that is there already goes only if it is to be overwritten. */
  constructor(file: string, overwrites: boolean) {
    this.#file = file;
    this.#flag = overwrites ? "w" : "wx";
  }

  event(event: RunEvent): void {
    if (event.type === "rewind") this.#takeBack(event.step);
    if (event.type !== "step" || event.metrics.step < this.#nextStep) return;
    writeFileSync(this.#file, lineOf(event.metrics), { flag: this.#flag });
    this.#flag = "a";
    this.#nextStep = event.metrics.step + 1;
  }

  /** All that there is, also what no event told: steps that are long past, the evaluation after the last step. */
  complete(metrics: readonly StepMetrics[]): void {
    writeFileSync(this.#file, metrics.map(lineOf).join(""));
    this.#flag = "a";
    this.#nextStep = (metrics.at(-1)?.step ?? -1) + 1;
  }

  #takeBack(step: number): void {
    if (this.#flag !== "a") return;
    const lines = readFileSync(this.#file, "utf8").split("\n").filter(Boolean);
    const all = lines.map((line) => JSON.parse(line) as StepMetrics);
    this.complete(all.filter((each) => each.step < step));
  }
}

function lineOf(metrics: StepMetrics): string {
  return `${JSON.stringify(metrics)}\n`;
}
