/** The lines of a run that can be drawn, and what they can be drawn over. */
import type { StepMetrics } from "../../api/run-metrics.ts";
import type { Values } from "./smooth.ts";

export const FIGURES = {
  trainLoss: {
    title: "Training loss",
    unit: "nats per token",
    of: (metrics) => metrics.map((each) => each.trainLoss),
  },
  valLoss: {
    title: "Validation loss",
    unit: "nats per token",
    of: (metrics) => metrics.map((each) => each.valLoss),
  },
  gradNorm: {
    title: "Gradient norm",
    unit: "before clipping",
    of: (metrics) => metrics.map((each) => each.gradNorm),
  },
  learningRate: {
    title: "Learning rate",
    unit: "of matrices",
    // The last evaluation has a line of its own, and no update.
    of: (metrics) =>
      metrics.map((each) =>
        each.trainLoss === null ? null : each.learningRate,
      ),
  },
  speed: {
    title: "Tokens a second",
    unit: "from one update to the next",
    of: (metrics) =>
      metrics.map((each, i) => {
        const before = metrics[i - 1];
        const ms = before ? each.committedMs - before.committedMs : 0;
        const tokens = before ? each.tokens - before.tokens : 0;
        return ms > 0 && tokens > 0 ? (1000 * tokens) / ms : null;
      }),
  },
} as const satisfies Record<
  string,
  {
    title: string;
    unit: string;
    of: (metrics: readonly StepMetrics[]) => Values;
  }
>;
export type FigureName = keyof typeof FIGURES;

export const AXES = {
  step: { name: "step", of: ({ step }) => step },
  tokens: { name: "tokens", of: ({ tokens }) => tokens },
  time: {
    name: "seconds since the first update",
    of: ({ committedMs }, first) => (committedMs - first.committedMs) / 1000,
  },
} as const satisfies Record<
  string,
  { name: string; of: (each: StepMetrics, first: StepMetrics) => number }
>;
export type AxisName = keyof typeof AXES;

/** Never falling, as lines want it: clocks may. */
export function placesOf(
  metrics: readonly StepMetrics[],
  axis: AxisName,
): number[] {
  const first = metrics[0]!;
  let last = -Infinity;
  return metrics.map(
    (each) => (last = Math.max(last, AXES[axis].of(each, first))),
  );
}
