/** What ends a step, whoever computes it: the losses' means, the gradient's norm, and the update that follows from it. */
import type { RunConfig } from "../api/run-config.ts";
import type { Update } from "./optimizer.ts";
import { learningRates } from "./schedule.ts";

/** In nats, over tokens, which have so many bytes of text; null where it is not finite. */
export type LossSum = { lossSum: number | null; tokens: number; bytes: number };

/** A mean; null where the sum is not finite. */
export type Loss = { perToken: number | null; perByte: number | null };

/** Mean loss: sums in f64, in the given order. */
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

/** The update of `step`, of the squared norms of all chunks in order; undefined where their sum is not finite. */
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
