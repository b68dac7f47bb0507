/**
 * The end of a step: mean losses, gradient norm, and the update that follows from them. Used by the run and by
 * replays.
 */
import type { RunConfig } from "../api/run-config.ts";
import type { Update } from "./optimizer.ts";
import { learningRates } from "./schedule.ts";

/** `lossSum` in nats over `tokens`, whose text has `bytes`; null if not finite. */
export type LossSum = { lossSum: number | null; tokens: number; bytes: number };

/** Mean loss in nats; null if the sum is not finite. */
export type Loss = { perToken: number | null; perByte: number | null };

/** Mean loss, summed in f64 in the given order. */
export function meanLoss(parts: readonly LossSum[]): Loss {
  let [lossSum, tokens, bytes] = [0, 0, 0];
  for (const part of parts) {
    if (part.lossSum === null) return { perToken: null, perByte: null };
    lossSum += part.lossSum;
    tokens += part.tokens;
    bytes += part.bytes;
  }
  const per = (count: number) => (count === 0 ? null : lossSum / count);
  return { perToken: per(tokens), perByte: per(bytes) };
}

/** The update of `step`, from the squared norms of all chunks in order; undefined if their sum is not finite. */
export function updateOf(
  { optimizer, steps }: Pick<RunConfig, "optimizer" | "steps">,
  step: number,
  squares: Iterable<number>,
): { gradNorm: number; update: Update } | undefined {
  let sum = 0;
  for (const square of squares) sum += square;
  const gradNorm = Math.sqrt(sum);
  if (!Number.isFinite(gradNorm)) return undefined;
  const { clip } = optimizer;
  return {
    gradNorm,
    update: {
      step,
      clipCoefficient: gradNorm > clip ? clip / gradNorm : 1,
      learningRates: learningRates(optimizer, steps, step),
    },
  };
}
