/**
 * Scaling of rotary frequencies for models whose context was extended after training. Sources: transformers'
 * modeling_rope_utils (keys of config.json and defaults); Peng et al., YaRN (2023); Llama 3.1.
 */
import type { RopeScaling } from "../../api/run-config.ts";
import { logarithm } from "../../checkpoints/yarn.ts";

/** Angle per token of each pair of channels in radians, and a factor of cosines and sines. */
export type Turns = { perToken: Float64Array; magnitude: number };

/** Scales the frequencies `plain`: base^(−2i / headWidth) for pair i. */
export function scaledTurns(
  plain: Float64Array,
  base: number,
  scaling: RopeScaling | undefined,
): Turns {
  if (scaling === undefined) return { perToken: plain, magnitude: 1 };
  if (scaling.type === "factors") {
    const { factors } = scaling;
    return {
      perToken: plain.map((turn, i) => turn / factors[i]!),
      magnitude: scaling.attentionFactor ?? 1,
    };
  }
  const { factor } = scaling;
  const keptShare = keptShares(plain, base, scaling);
  const perToken = plain.map((turn, i) => {
    const kept = keptShare(turn, i);
    return turn * kept + (turn / factor) * (1 - kept);
  });
  const magnitude = scaling.type === "yarn" ? scaling.attentionFactor : 1;
  return { perToken, magnitude };
}

/** The share of a pair's frequency that is kept; the rest is divided by the factor. */
function keptShares(
  { length: pairs }: Float64Array,
  base: number,
  scaling: Exclude<RopeScaling, { type: "factors" }>,
): (turn: number, pair: number) => number {
  switch (scaling.type) {
    case "linear":
      return () => 0;
    case "llama3": {
      const { lowFrequencyFactor: low, highFrequencyFactor: high } = scaling;
      // By the pair's number of rotations in the original context.
      return (turn) =>
        ramp((scaling.originalContext * turn) / (2 * Math.PI), low, high);
    }
    case "yarn": {
      const { betaFast, betaSlow, originalContext, truncate } = scaling;
      /** The fractional index of the pair with this many rotations in the original context. */
      const pairOf = (rotations: number) =>
        (pairs * logarithm(originalContext / (rotations * 2 * Math.PI))) /
        logarithm(base);
      const [low, high] = [pairOf(betaFast), pairOf(betaSlow)];
      const first = Math.max(truncate ? Math.floor(low) : low, 0);
      const last = Math.min(truncate ? Math.ceil(high) : high, 2 * pairs - 1);
      // As in transformers, to avoid division by zero.
      const end = last === first ? last + 0.001 : last;
      return (_, pair) => 1 - ramp(pair, first, end);
    }
  }
}

/** 0 up to `low`, 1 from `high` on, linear between. */
function ramp(x: number, low: number, high: number): number {
  return Math.min(1, Math.max(0, (x - low) / (high - low)));
}
