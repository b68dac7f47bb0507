/** Messages between the replay page and its Worker. */
import type { StepMetrics } from "../../api/run-metrics.ts";

/** As in the run's metrics; the final evaluation has no update. */
export type ComputedStep = Pick<
  StepMetrics,
  | "step"
  | "trainLoss"
  | "trainNatsPerByte"
  | "gradNorm"
  | "valLoss"
  | "valNatsPerByte"
  | "results"
>;

export type ReplayTask = {
  baseUrl: string;
  token: string | undefined;
  run: string;
  /** Step of the kept state to start from; null for the initial parameters. */
  from: number | null;
  /** The last step, of which a microbatch is observed. */
  step: number;
  microbatch: number;
};

/** One linear layer in the observed microbatch. */
export type WatchedLayer = {
  name: string;
  /** Fractions of dY, quantized by Algorithm 3, and rounded to nearest. */
  zeroed: number;
  clipped: number;
  zeroedNearest: number;
  clippedNearest: number;
  /** Counts of each exponent of its blocks' scales, ascending. */
  scales: { exponent: number; count: number }[];
  /** The 4-bit gradients, with the run's own random numbers, compared with exact ones. */
  dX: { cosine: number; slope: number };
  dW: { cosine: number; slope: number };
};

export type ReplayMessage =
  | { type: "step"; step: ComputedStep }
  /** Everything requested has been sent. */
  | { type: "done" }
  | { type: "layers"; step: number; layers: WatchedLayer[] }
  | { type: "failed"; text: string };
