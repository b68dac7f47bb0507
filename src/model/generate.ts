/** Text from a model, one token at a time. The same options give the same text on every machine. */
import { AppError } from "../api/errors.ts";
import type { Recipe } from "../api/recipe.ts";
import { exp } from "../kernels/layers.ts";
import { noiseKey, PURPOSE } from "../kernels/noise.ts";
import { randomNumber } from "../kernels/random-number.ts";
import { kernels } from "../kernels/runtime.ts";
import type { ParameterSource } from "./flat-vector.ts";
import type { Model } from "./model.ts";
import { PackedWeights } from "./packed-weights.ts";

export type SamplingOptions = {
  /** Logits are divided by it; 0 takes the likeliest token. Default 1. */
  temperature?: number;
  /** Only this many of the likeliest tokens stay in play. Default all. */
  topK?: number;
  seed?: number;
  /** How the forward pass computes. Default bf16, as in every recipe but f32. */
  recipe?: Recipe;
};

/** `tokens` tokens that follow `prompt`; the prompt is not repeated. Called inside `arena.scope`. */
export function generate(
  model: Model,
  parameters: ParameterSource,
  prompt: ArrayLike<number>,
  { tokens, ...options }: SamplingOptions & { tokens: number },
): Int32Array<ArrayBuffer> {
  const text = Array.from(prompt);
  for (let i = 0; i < tokens; i++) {
    text.push(nextToken(model, parameters, text, options));
  }
  return Int32Array.from(text.slice(prompt.length));
}

/**
 * The token after `text`, of which the model sees the last `context` tokens. Its random number
 * depends on the seed and on the length of the text only.
 */
export function nextToken(
  model: Model,
  parameters: ParameterSource,
  text: readonly number[],
  { temperature = 1, topK, seed = 0, recipe = "bf16" }: SamplingOptions,
): number {
  if (!(temperature >= 0 && temperature < Infinity)) {
    throw new AppError(
      "invalid_option",
      `Expected \`temperature\` to be a number from 0, got ${temperature}`,
    );
  }
  if (topK !== undefined && !(Number.isSafeInteger(topK) && topK >= 1)) {
    throw new AppError(
      "invalid_option",
      `Expected \`topK\` to be a whole number from 1, got ${topK}`,
    );
  }
  const window = Int32Array.from(text.slice(-model.shape.context));
  const packedWeights = new PackedWeights();
  const logits = model.lastLogits(
    { recipe, parameters, packedWeights },
    window,
  );
  if (logits.some(Number.isNaN)) {
    throw new AppError(
      "invalid_number",
      "Expected logits to be numbers, got NaN",
    );
  }
  // Likeliest first; of equals the smaller token.
  const ranked = Array.from(logits.keys()).sort(
    (a, b) => logits[b] - logits[a] || a - b,
  );
  if (temperature === 0) return ranked[0];

  const candidates = ranked.slice(0, topK);
  const weights = exponentials(
    candidates.map(
      (token) => (logits[token] - logits[ranked[0]]) / temperature,
    ),
  );
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const key = noiseKey(seed, PURPOSE.sampling, text.length);
  let rest = randomNumber(key, 0) * total;
  for (const [index, token] of candidates.entries()) {
    rest -= weights[index];
    if (rest < 0) return token;
  }
  return candidates[candidates.length - 1]; // only if rounding left a rest
}

/** e^x, by the kernel. */
function exponentials(x: number[]): number[] {
  const { arena } = kernels();
  return arena.scope(() => {
    const values = arena.copyIn(Float32Array.from(x));
    exp(values, values, x.length);
    return Array.from(arena.f32(values, x.length));
  });
}
