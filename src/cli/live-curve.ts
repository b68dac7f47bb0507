/** The curve of a run's training loss, from its events. */
import type { RunEvent } from "../api/run-metrics.ts";
import type { Listener } from "./follow.ts";
import { lossCurve } from "./loss-curve.ts";

type Point = { step: number; perToken: number; perByte: number | null };

export class LiveCurve implements Listener {
  readonly #points: Point[] = [];

  /**
   * Lines of the curve; empty until there are two losses. In nats per byte, which is comparable between tokenizers; in
   * nats per token if a step has no loss per byte, as in events of an earlier release.
   */
  lines(): string[] {
    if (this.#points.length < 2) return [];
    const isPerByte = this.#points.every(({ perByte }) => perByte !== null);
    const points = this.#points.map(({ step, perToken, perByte }) => ({
      step,
      loss: isPerByte ? perByte! : perToken,
    }));
    const unit = isPerByte ? "nats per byte" : "nats per token";
    return lossCurve(points, unit).split("\n");
  }

  event(event: RunEvent): void {
    if (event.type === "rewind") {
      const later = this.#points.findIndex(({ step }) => step >= event.step);
      if (later >= 0) this.#points.length = later;
    }
    if (event.type !== "step" || event.metrics.trainLoss === null) return;
    const { step, trainLoss: perToken, trainNatsPerByte } = event.metrics;
    this.#points.push({ step, perToken, perByte: trainNatsPerByte ?? null });
  }
}
