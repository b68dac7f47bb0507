/** What the page of replays asks of its Worker, and hears. */
import type { StepMetrics } from "../../api/run-metrics.ts";

/** As the run tells of it: of the last, behind which there is no update, an evaluation alone. */
export type ComputedStep = Pick<
  StepMetrics,
  "step" | "trainLoss" | "gradNorm" | "valLoss" | "results"
>;

export type ReplayTask = {
  baseUrl: string;
  token: string | undefined;
  run: string;
  /** Whose state is taken from the edge; null to draw the first parameters here. */
  from: number | null;
  /** The step whose microbatch is looked at, after all before it. */
  step: number;
  microbatch: number;
};

/** Of one linear layer of the microbatch. */
export type WatchedLayer = {
  name: string;
  /** Shares of dY, as Algorithm 3 quantizes it, and rounded to nearest. */
  zeroed: number;
  clipped: number;
  zeroedNearest: number;
  clippedNearest: number;
  /** Exponents of its blocks' scales: the least, the commonest and the largest. */
  scales: { exponent: number; count: number }[];
  /** Of the 4-bit gradients with the run's own noise, against exact ones. */
  dX: { cosine: number; slope: number };
  dW: { cosine: number; slope: number };
};

export type ReplayMessage =
  | { type: "step"; step: ComputedStep }
  /** All that was asked for has been told. */
  | { type: "done" }
  | { type: "layers"; step: number; layers: WatchedLayer[] }
  | { type: "failed"; text: string };
