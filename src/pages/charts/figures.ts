/** The figures of a run that are drawn, and the axes over which. */
import type { StepMetrics } from "../../api/run-metrics.ts";
import type { Values } from "./smooth.ts";

export type FigureName =
  "trainLoss" | "valLoss" | "gradNorm" | "learningRate" | "speed";

type Figure = {
  title: string;
  unit: string;
  of: (metrics: readonly StepMetrics[]) => Values;
  /** A loss per byte of text instead of per token. */
  perByte?: (metrics: readonly StepMetrics[]) => Values;
};

export const FIGURES: Record<FigureName, Figure> = {
  trainLoss: {
    title: "Training loss",
    unit: "nats per token",
    of: (metrics) => metrics.map((each) => each.trainLoss),
    perByte: (metrics) => metrics.map((each) => each.trainNatsPerByte),
  },
  valLoss: {
    title: "Validation loss",
    unit: "nats per token",
    of: (metrics) => metrics.map((each) => each.valLoss),
    perByte: (metrics) => metrics.map((each) => each.valNatsPerByte),
  },
  gradNorm: {
    title: "Gradient norm",
    unit: "before clipping",
    of: (metrics) => metrics.map((each) => each.gradNorm),
  },
  learningRate: {
    title: "Learning rate",
    unit: "of matrices",
    // The final evaluation has its own line in the metrics, without an update.
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
};

export type DrawnFigure = Pick<Figure, "unit" | "of">;

/** A figure's values and unit. */
export function drawnFigure(name: FigureName, isPerByte: boolean): DrawnFigure {
  const { unit, of, perByte } = FIGURES[name];
  return isPerByte && perByte
    ? { unit: "nats per byte", of: perByte }
    : { unit, of };
}

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

/** Monotonic, as plots require: clocks may go backwards. */
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
