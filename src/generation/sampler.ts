/** Samples the next token from a model's logits: a pure function of logits, text, options and seed. */
import { AppError } from "../api/errors.ts";
import { exponentials } from "../kernels/decode.ts";
import { noiseKey, PURPOSE } from "../kernels/noise.ts";
import { randomNumber } from "../kernels/random-number.ts";

export type SamplingOptions = {
  /** Logits are divided by it; 0 always takes the most likely token. */
  temperature: number;
  /** Only this many of the most likely tokens are considered. */
  topK: number;
  /** Of those, only the most likely ones that together have this probability. */
  topP: number;
  /** Repetition penalty: divides the logits of tokens already in the text, or multiplies them if negative. */
  repetition: number;
  seed: number;
};

export const DEFAULT_SAMPLING: SamplingOptions = {
  temperature: 0.8,
  topK: 40,
  topP: 1,
  repetition: 1,
  seed: 0,
};

/** The valid values of each option, in words. */
const RULES: Record<
  keyof SamplingOptions,
  [expected: string, holds: (value: number) => boolean]
> = {
  temperature: ["a number from 0 to 100", (x) => x >= 0 && x <= 100],
  topK: ["a whole number from 1", (x) => Number.isSafeInteger(x) && x >= 1],
  topP: ["a number above 0, of at most 1", (x) => x > 0 && x <= 1],
  repetition: ["a number from 1 to 10", (x) => x >= 1 && x <= 10],
  seed: ["a whole number from 0", (x) => Number.isSafeInteger(x) && x >= 0],
};

/** The given options, with defaults for the others. Errors: `invalid_option` */
export function samplingOf(told: {
  [Name in keyof SamplingOptions]?: SamplingOptions[Name] | undefined;
}): SamplingOptions {
  const options = { ...DEFAULT_SAMPLING };
  for (const [name, [expected, holds]] of Object.entries(RULES)) {
    const key = name as keyof SamplingOptions;
    const value = told[key];
    if (value === undefined) continue;
    if (!holds(value))
      throw new AppError(
        "invalid_option",
        `Expected \`${name}\` to be ${expected}, got ${value}`,
      );
    options[key] = value;
  }
  return options;
}

/**
 * Samples the token after `text`. The random number depends only on the seed and the length of the text. Overwrites
 * `logits`. Only the first `known` tokens are considered.
 */
export function sampleToken(
  logits: Float32Array,
  text: readonly number[],
  { temperature, topK, topP, repetition, seed }: SamplingOptions,
  known = logits.length,
): number {
  const own = logits.subarray(0, known);
  if (own.some(Number.isNaN))
    throw new AppError(
      "invalid_number",
      "Expected logits to be numbers, got NaN",
    );
  if (repetition !== 1)
    for (const token of new Set(text)) {
      const logit = own[token]!;
      own[token] = logit > 0 ? logit / repetition : logit * repetition;
    }
  const ranked = likeliest(own, temperature === 0 ? 1 : topK);
  const [best] = ranked as [number];
  if (temperature === 0) return best;

  const weights = exponentials(
    ranked.map((token) => (own[token]! - own[best]!) / temperature),
  );
  const count = countUpTo(weights, topP);
  const total = sum(weights, count);
  const key = noiseKey(seed, PURPOSE.sampling, text.length);
  let rest = randomNumber(key, 0) * total;
  for (let i = 0; i < count; i++) {
    rest -= weights[i]!;
    if (rest < 0) return ranked[i]!;
  }
  return ranked[count - 1]!; // only if rounding left a rest
}

/** How many of the first weights together reach `share` of their sum. */
function countUpTo(weights: readonly number[], share: number): number {
  const enough = share * sum(weights, weights.length);
  let together = 0;
  for (const [i, weight] of weights.entries()) {
    together += weight;
    if (together >= enough && share < 1) return i + 1;
  }
  return weights.length;
}

function sum(weights: readonly number[], count: number): number {
  let total = 0;
  for (let i = 0; i < count; i++) total += weights[i]!;
  return total;
}

/** The `most` tokens with the largest logits, in descending order; ties by token id. */
function likeliest(logits: Float32Array, most: number): number[] {
  const order = (a: number, b: number) => logits[b]! - logits[a]! || a - b;
  const room = 4 * most;
  let kept: number[] = [];
  let least = -Infinity;
  const cut = (): void => {
    kept = kept.sort(order).slice(0, most);
    if (kept.length === most) least = logits[kept.at(-1)!]!;
  };
  for (let token = 0; token < logits.length; token++) {
    // A tie with the smallest kept logit loses, since its token id is larger.
    if (kept.length >= most && logits[token]! <= least) continue;
    kept.push(token);
    if (kept.length >= room) cut();
  }
  cut();
  return kept;
}
