import { expect, test } from "vitest";
import type { RunConfig } from "../../src/api/run-config.ts";
import { completeConfig } from "../../src/training/config.ts";
import { runRequestSchema } from "../../src/training/run-request.ts";
import {
  evaluationMicrobatches,
  evaluationWindows,
  heldOutMicrobatches,
  multiplyHigh,
  readBatch,
  splitTokens,
  trainWindows,
} from "../../src/training/data.ts";
import { readTokenLengths } from "../../src/training/token-lengths.ts";
import { Bpe, type Merge } from "../../src/tokenizers/bpe.ts";
import { writeTokenizerJson } from "../../src/tokenizers/tokenizer-json.ts";
import "../support/kernels.ts";

function configOf(tokens: number, changes: object = {}): RunConfig {
  return completeConfig(
    runRequestSchema().parse({
      dataset: "text",
      model: { context: 64, width: 64, layers: 1 },
      steps: 1000,
      ...changes,
    }),
    { name: "text", digest: "", tokens, tokenizer: "byte", vocabulary: 256 },
  );
}

test("95 % are trained on, 5 % held out, and nothing is both", () => {
  for (const tokens of [1300, 4096, 99_999, 1_204_997]) {
    const { train, heldOut } = splitTokens(tokens);
    expect(train.start).toBe(0);
    expect(heldOut.start).toBe(train.length);
    expect(train.length + heldOut.length).toBe(tokens);
    expect(train.length).toBe(Math.floor(0.95 * tokens));
  }
});

test("training windows and their targets stay within the train split, first and last start included", () => {
  const config = configOf(1300);
  const { train } = splitTokens(1300);
  const starts = new Set<number>();
  for (let step = 0; step < 4000; step++) {
    for (const { start, skipped } of trainWindows(config, step, 0)) {
      expect(start + config.model.context + 1).toBeLessThanOrEqual(
        train.length,
      );
      expect(skipped).toBe(0);
      starts.add(start);
    }
  }
  const possible = train.length - config.model.context;
  expect(starts.has(0)).toBe(true);
  expect(starts.has(possible - 1)).toBe(true);
  // 8,000 draws of 1,171 starts miss one with probability e^-6.8 each.
  expect(starts.size).toBeGreaterThan(possible * 0.99);
});

test("a window depends on seed, step, microbatch and sequence, and on nothing else", () => {
  const config = configOf(1_000_000);
  const first = trainWindows(config, 3, 1);
  expect(trainWindows(config, 3, 1)).toEqual(first);
  expect(trainWindows({ ...config, shards: 1, steps: 9 }, 3, 1)).toEqual(first);
  expect(first[0]).not.toEqual(first[1]);
  for (const other of [
    trainWindows(config, 4, 1),
    trainWindows(config, 3, 2),
    trainWindows({ ...config, seed: 7 }, 3, 1),
  ]) {
    expect(other).not.toEqual(first);
  }
});

test("multiplyHigh maps the ends of 32 bits to the ends of the range, exactly", () => {
  expect(multiplyHigh(0, 1000)).toBe(0);
  expect(multiplyHigh(2 ** 32 - 1, 1000)).toBe(999);
  expect(multiplyHigh(2 ** 31, 1000)).toBe(500);
  expect(multiplyHigh(2 ** 31 - 1, 1000)).toBe(499);
  // Beyond 2^53: a double would round it up to the range itself.
  expect(multiplyHigh(2 ** 32 - 1, 2 ** 31)).toBe(2 ** 31 - 1);
});

test.each([
  ["one window exactly", 1300],
  ["one token short of two windows", 2560],
  ["a last window slid back", 4096],
  ["many windows", 20_011],
])(
  "the final evaluation counts each held-out target once: %s",
  async (_name, tokens) => {
    for (const sequences of [1, 2, 3]) {
      const config = configOf(tokens, { sequences });
      const { heldOut } = splitTokens(tokens);
      const counts = new Uint8Array(tokens);
      for (let index = 0; index < heldOutMicrobatches(config); index++) {
        for (const { start, skipped } of evaluationWindows(config, index)) {
          expect(start).toBeGreaterThanOrEqual(heldOut.start);
          expect(start + 64 + 1).toBeLessThanOrEqual(tokens);
          for (let i = skipped; i < 64; i++) counts[start + i + 1]!++;
        }
      }
      const expected = new Uint8Array(tokens).fill(1, heldOut.start + 1);
      expect(counts).toEqual(expected);
    }
  },
);

test("evaluations come every interval with the first microbatches, and whole at the end", () => {
  const config = configOf(100_000, {
    steps: 250,
    evaluation: { interval: 100, microbatches: 8 },
  });
  const counts = [0, 1, 99, 100, 200, 249, 250].map((step) =>
    evaluationMicrobatches(config, step),
  );
  expect(counts).toEqual([8, 0, 0, 8, 8, 0, heldOutMicrobatches(config)]);
  expect(heldOutMicrobatches(config)).toBe(Math.ceil(4999 / 64 / 2));
});

test("a batch's targets are the next tokens, and −1 where they are not counted", async () => {
  const config = configOf(4096);
  const text = Uint8Array.from({ length: 4096 }, (_, i) => (i * 7) % 251);
  const read = (start: number, length: number) =>
    Promise.resolve(text.subarray(start, start + length));
  const last = heldOutMicrobatches(config) - 1;
  const batch = await readBatch(
    config,
    { kind: "eval", step: 0, index: last },
    read,
  );
  expect(batch.sequences).toBe(2);
  const windows = evaluationWindows(config, last);
  for (const [sequence, { start, skipped }] of windows.entries()) {
    for (let i = 0; i < 64; i++) {
      const at = sequence * 64 + i;
      expect(batch.tokens[at]).toBe(text[start + i]);
      expect(batch.targets[at]).toBe(i < skipped ? -1 : text[start + i + 1]);
    }
  }
  expect(windows[1]!.skipped).toBeGreaterThan(0);
});

test("a token may be of many bytes", async () => {
  const space = 32;
  const merges = Array.from({ length: 9 }, (_, i): Merge =>
    i === 0 ? [space, space] : [255 + i, 255 + i],
  );
  const json = writeTokenizerJson(new Bpe(merges));
  const { dataset } = configOf(1300);
  const lengths = await readTokenLengths(
    { tokenizer: () => Promise.resolve(json) },
    { ...dataset, tokenizer: "bpe", vocabulary: 256 + merges.length },
  );
  expect(Array.from(lengths.subarray(255))).toEqual([
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512,
  ]);
});
