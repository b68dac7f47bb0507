import { expect, test } from "vitest";
import { parameterTable } from "../../src/model/gpt2/parameters.ts";
import { completeConfig, runRequestSchema } from "../../src/training/config.ts";
import { trainerBytes } from "../../src/training/memory.ts";
import { computeMicrobatch } from "../../src/training/microbatch.ts";
import { PackedWeights } from "../../src/model/packed-weights.ts";
import { arena } from "../support/kernels.ts";

test("the estimate bounds what a microbatch takes of the arena, and not by far", () => {
  const config = completeConfig(
    runRequestSchema.parse({
      dataset: "text",
      model: { layers: 2, width: 128, context: 256 },
      sequences: 16,
    }),
    {
      name: "text",
      digest: "",
      tokens: 1e6,
      tokenizer: "byte",
      vocabulary: 256,
    },
  );
  const { length } = parameterTable(config.model);
  const tokens = new Int32Array(16 * 256);
  const before = arena.memory.buffer.byteLength;
  computeMicrobatch(
    { config, parameters: length, shards: [{ index: 0, start: 0, length }] },
    { step: 0, frames: [], packedWeights: new PackedWeights() },
    { sequences: 16, tokens, targets: tokens },
    { kind: "train", step: 0, index: 0 },
  );
  const taken = arena.memory.buffer.byteLength - before;
  const estimate = trainerBytes(config, length);
  expect(taken).toBeLessThan(estimate);
  // Frames, payloads and packed weights lie outside the arena.
  expect(taken).toBeGreaterThan(0.6 * estimate);
});
