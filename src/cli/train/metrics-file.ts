/**
 * A run's metrics as JSON lines, as in `GET /v1/runs/:run/metrics`. Each is written when its step is committed, so an
 * interrupted run leaves all that it had.
 */
import { readFileSync, writeFileSync } from "node:fs";
import type { RunEvent, StepMetrics } from "../../api/run-metrics.ts";

export class MetricsFile {
  readonly #file: string;
  /**
   * For the next line: the first creates the file, so that a run interrupted before it does not block the next one's
   * name.
   */
  #flag: "w" | "wx" | "a";
  #nextStep = 0;

  /** `overwrites`: whether an existing file may be replaced. */
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

  /** Rewrites all lines, including those without events: early steps, and the evaluation after the last step. */
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
