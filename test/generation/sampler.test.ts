import "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import {
  DEFAULT_SAMPLING,
  type SamplingOptions,
  sampleToken,
  samplingOf,
} from "../../src/generation/sampler.ts";
import { normals } from "../support/random.ts";

const ALL: SamplingOptions = { ...DEFAULT_SAMPLING, temperature: 1, topK: 1e9 };
const LOGITS = Float32Array.of(0.5, 2, -1, 1, 1.5);

function sample(
  options: Partial<SamplingOptions>,
  text = [4, 0],
  logits = LOGITS,
) {
  return sampleToken(logits.slice(), text, { ...ALL, ...options });
}

function softmax(logits: Float32Array): number[] {
  const weights = Array.from(logits, (x) => Math.exp(x));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

function counts(options: Partial<SamplingOptions>, draws: number): number[] {
  const result = [0, 0, 0, 0, 0];
  for (let seed = 0; seed < draws; seed++)
    result[sample({ ...options, seed })]!++;
  return result;
}

const drawn = (options: Partial<SamplingOptions>) =>
  counts(options, 600).flatMap((count, token) => (count > 0 ? [token] : []));

describe("a token", () => {
  it("is the likeliest at temperature 0, of equals the smaller", () => {
    expect(sample({ temperature: 0 })).toBe(1);
    expect(sample({ topK: 1 })).toBe(1);
    const equal = Float32Array.of(0, 3, 1, 3, 3);
    expect(sample({ temperature: 0 }, [0], equal)).toBe(1);
    expect(
      new Set(
        Array.from({ length: 99 }, (_, seed) =>
          sample({ topK: 2, seed }, [0], equal),
        ),
      ),
    ).toEqual(new Set([1, 3]));
  });

  it("is drawn as often as the softmax says", () => {
    const draws = 4000;
    const p = softmax(LOGITS.map((x) => x / 0.7));
    for (const [token, count] of counts(
      { temperature: 0.7 },
      draws,
    ).entries()) {
      const deviation = Math.sqrt(draws * p[token]! * (1 - p[token]!));
      expect(Math.abs(count - draws * p[token]!)).toBeLessThan(4 * deviation);
    }
  });

  it("is one of the top k, and of those of the top p, the one that reaches it too", () => {
    expect(drawn({ topK: 2 })).toEqual([1, 4]);
    const p = softmax(LOGITS); // 1 has 0.45, 4 0.27, 3 0.17, 0 0.10
    expect(drawn({ topP: p[1]! - 0.01 })).toEqual([1]);
    expect(drawn({ topP: p[1]! + 0.01 })).toEqual([1, 4]);
    expect(drawn({ topP: p[1]! + p[4]! + 0.01 })).toEqual([1, 3, 4]);
    // Of the two that are left, the first has more than half.
    expect(drawn({ topK: 2, topP: 0.6 })).toEqual([1]);
  });

  it("that the text has is made less likely, whatever its logit's sign", () => {
    const options = { temperature: 0, repetition: 2 };
    expect(sample(options, [1])).toBe(4);
    expect(
      sample(options, [1, 4, 3, 0], Float32Array.of(-1, -1, -1.5, -1, -1)),
    ).toBe(2);
  });

  it("is found among many as by sorting all", () => {
    const logits = Float32Array.from(normals(50_257, 3));
    const sorted = Array.from(logits.keys()).sort(
      (a, b) => logits[b]! - logits[a]!,
    );
    const seen = new Set<number>();
    for (let seed = 0; seed < 300; seed++)
      seen.add(sample({ topK: 5, temperature: 9, seed }, [0], logits));
    expect(seen).toEqual(new Set(sorted.slice(0, 5)));
  });

  it("depends on the seed and the text's length", () => {
    const texts = (seed: number) =>
      Array.from({ length: 40 }, (_, length) =>
        sample({ seed }, Array<number>(length + 1).fill(0)),
      );
    expect(texts(7)).toEqual(texts(7));
    expect(texts(7)).not.toEqual(texts(8));
    expect(new Set(texts(7)).size).toBeGreaterThan(3);
  });
});

it.each([
  ["temperature", -1, "a number from 0 to 100"],
  ["temperature", NaN, "a number from 0 to 100"],
  ["topK", 0, "a whole number from 1"],
  ["topP", 0, "a number above 0, of at most 1"],
  ["repetition", 0.5, "a number from 1 to 10"],
  ["seed", 1.5, "a whole number from 0"],
])("%s %d is refused", (name, value, expected) => {
  expect(() => samplingOf({ [name]: value })).toThrow(
    `Expected \`${name}\` to be ${expected}, got ${value}`,
  );
});

it("refuses logits that are no numbers", () => {
  expect(() => sample({}, [0], Float32Array.of(0, NaN))).toThrow("got NaN");
});
