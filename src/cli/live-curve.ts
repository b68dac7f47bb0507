/** The curve of a run's training loss, from its events. */
import type { RunEvent } from "../api/run-metrics.ts";
import type { Listener } from "./follow.ts";
import { lossCurve } from "./loss-curve.ts";

export class LiveCurve implements Listener {
  readonly #points: { step: number; loss: number }[] = [];

  /** Lines of the curve; empty until there are two losses. */
  lines(): string[] {
    if (this.#points.length < 2) return [];
    return lossCurve(this.#points).split("\n");
  }

  event(event: RunEvent): void {
    if (event.type === "rewind") {
      const later = this.#points.findIndex(({ step }) => step >= event.step);
      if (later >= 0) this.#points.length = later;
    }
    if (event.type !== "step" || event.metrics.trainLoss === null) return;
    const { step, trainLoss } = event.metrics;
    this.#points.push({ step, loss: trainLoss });
  }
}
