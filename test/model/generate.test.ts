import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { generate, type SamplingOptions } from "../../src/model/generate.ts";
import { modelOf } from "../../src/model/architectures.ts";
import { flatParameters } from "../../src/model/flat-vector.ts";
import { lastLogits, parameterTable } from "../support/model.ts";
import { normals } from "../support/random.ts";

const shape = { layers: 1, width: 8, heads: 2, context: 6, vocabulary: 5 };
const parameters = normals(parameterTable(shape).length, 2).map(
  (value) => 0.5 * value,
);

function sample(
  prompt: number[],
  options: SamplingOptions & { tokens: number },
) {
  return arena.scope(() => {
    const source = arena.copyIn(parameters);
    return Array.from(
      generate(modelOf(shape), flatParameters(source), prompt, options),
    );
  });
}

/** The softmax of the logits after `prompt`. */
function probabilities(prompt: number[]): number[] {
  const scores = arena.scope(() =>
    lastLogits(
      shape,
      "bf16",
      arena.copyIn(parameters),
      Int32Array.from(prompt),
    ),
  );
  const weights = Array.from(scores, (score) => Math.exp(score));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

describe("generate", () => {
  it("takes the likeliest token at temperature 0, past the context too", () => {
    const text = sample([1, 2], { tokens: 12, temperature: 0 });
    expect(text.length).toBe(12);
    for (const [i, token] of text.entries()) {
      const before = [1, 2, ...text.slice(0, i)].slice(-shape.context);
      const p = probabilities(before);
      expect(token).toBe(p.indexOf(Math.max(...p)));
    }
    expect(sample([1, 2], { tokens: 12, topK: 1 })).toEqual(text);
  });

  it("gives the same text for the same seed, another for another", () => {
    const options = { tokens: 40, seed: 7 };
    expect(sample([3], options)).toEqual(sample([3], options));
    expect(sample([3], options)).not.toEqual(sample([3], { tokens: 40 }));
  });

  it("draws a new number at each place", () => {
    // A model of zeros finds all tokens equally likely.
    const text = arena.scope(() => {
      const zeros = arena.allocZeroedF32(parameters.length);
      return generate(modelOf(shape), flatParameters(zeros), [0], {
        tokens: 60,
      });
    });
    expect(new Set(text).size).toBe(shape.vocabulary);
  });

  it("draws tokens as often as the softmax says, and none outside the top k", () => {
    const draws = 4000;
    const counts = (options: SamplingOptions) => {
      const result = [0, 0, 0, 0, 0];
      for (let seed = 0; seed < draws; seed++) {
        result[sample([4, 0], { ...options, tokens: 1, seed })[0]]++;
      }
      return result;
    };
    const p = probabilities([4, 0]);
    for (const [token, count] of counts({}).entries()) {
      const deviation = Math.sqrt(draws * p[token] * (1 - p[token]));
      expect(Math.abs(count - draws * p[token])).toBeLessThan(4 * deviation);
    }
    const best = [...p.keys()].sort((a, b) => p[b] - p[a]).slice(0, 2);
    const drawn = [...counts({ topK: 2 }).entries()]
      .filter(([, count]) => count > 0)
      .map(([token]) => token);
    expect(new Set(drawn)).toEqual(new Set(best));
  });

  it("refuses options and prompts that mean nothing", () => {
    expect(() => sample([1], { tokens: 1, temperature: -1 })).toThrow(
      "Expected `temperature` to be a number from 0, got -1",
    );
    expect(() => sample([1], { tokens: 1, topK: 0 })).toThrow(
      "Expected `topK` to be a whole number from 1, got 0",
    );
    expect(() => sample([5], { tokens: 1 })).toThrow(
      "Expected tokens from 0 to 4, got 5",
    );
    expect(() => sample([], { tokens: 1 })).toThrow("got 0 tokens");
  });
});
