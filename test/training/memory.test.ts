import { expect, test } from "vitest";
import { frameBytes, payloadBytes } from "../../src/api/frame.ts";
import { RECIPE_NAMES, segmentLength } from "../../src/api/recipe.ts";
import {
  BPE_VOCABULARY,
  type PinnedDataset,
  TOKENIZERS,
} from "../../src/api/dataset.ts";
import {
  type RunConfig,
  type RunRequest,
  WIRE_DTYPES,
} from "../../src/api/run-config.ts";
import { modelOf } from "../../src/model/architectures.ts";
import { PackedWeights } from "../../src/model/packed-weights.ts";
import { completeConfig } from "../../src/training/config.ts";
import { runRequestSchema } from "../../src/training/run-request.ts";
import {
  applyChange,
  fits,
  fittingChange,
  fittingSplit,
} from "../../src/training/fitting.ts";
import {
  joinedBytes,
  MAX_HOSTED_BYTES,
  trainerBytes,
  type TrainerMemory,
  trainerMemory,
} from "../../src/training/memory.ts";
import { finish } from "../../src/kernels/steps.ts";
import { computeMicrobatch } from "../../src/training/microbatch.ts";
import { parameterDtype } from "../../src/training/pulled-parameters.ts";
import {
  reducedGradient,
  SLICE_LENGTH,
} from "../../src/training/mean-gradient.ts";
import { stateOf, stateParts } from "../../src/training/shard-state.ts";
import {
  applyUpdate,
  updateArenaBytes,
} from "../../src/training/shard-update.ts";
import { shardRanges } from "../../src/training/sharding.ts";
import { MODEL_PRESETS } from "../../src/cli/train/presets.ts";
import { arena } from "../support/kernels.ts";

const TEXT = {
  name: "text",
  digest: "",
  tokens: 1e6,
  tokenizer: "byte",
  vocabulary: 256,
} as const;

const PAIRS = { ...TEXT, tokenizer: "bpe", vocabulary: 2048 } as const;

function configOf(
  request: Omit<RunRequest, "dataset">,
  dataset: PinnedDataset = TEXT,
): RunConfig {
  return completeConfig(
    runRequestSchema().parse({ dataset: "text", ...request }),
    dataset,
  );
}

/** From the one that takes most to the one that takes least. */
function everyWay(config: RunConfig): TrainerMemory[] {
  const ways: TrainerMemory[] = [];
  let limit = Infinity;
  for (;;) {
    const memory = trainerMemory(config, limit);
    if (trainerBytes(memory) > limit) return ways;
    ways.push(memory);
    limit = trainerBytes(memory) - 1;
  }
}

const LLAMA = { arch: "llama", tied: false } as const;
const SIZES = {
  one: { model: { layers: 1, width: 64, heads: 1, context: 64 }, sequences: 1 },
  wide: { model: { layers: 2, width: 192, heads: 3, context: 64 } },
  broad: {
    model: { layers: 1, width: 128, heads: 2, context: 64 },
    shards: 1,
  },
  long: { model: { layers: 3, width: 64, heads: 4, context: 256 } },
  llama: {
    model: { ...LLAMA, layers: 2, width: 64, heads: 4, context: 64 },
  },
  // In one shard: of a matrix that is cut, each part is decoded by itself, in less room.
  qwen: {
    model: {
      arch: "llama",
      layers: 1,
      width: 128,
      heads: 2,
      context: 64,
      headNorm: true,
    },
    shards: 1,
  },
} as const;

test.each(
  Object.values(SIZES).flatMap((size) =>
    RECIPE_NAMES.filter(
      (recipe) => size.model.width % Math.max(64, segmentLength(recipe)) === 0,
    ).map((recipe, at) => ({
      ...size,
      recipe,
      gradientDtype: WIRE_DTYPES[at % WIRE_DTYPES.length]!,
      tokenizer: TOKENIZERS[at % TOKENIZERS.length]!,
    })),
  ),
)(
  "what is said to be needed is what is taken: %j",
  ({ tokenizer, ...rest }) => {
    const dataset = tokenizer === "byte" ? TEXT : PAIRS;
    const config = configOf(rest, dataset);
    const { table } = modelOf(config.model);
    const shards = shardRanges(table, config.shards);
    const dtype = parameterDtype(config);
    const tokens = new Int32Array(config.sequences * config.model.context);
    const outside =
      frameBytes(dtype, table.length) +
      (tokenizer === "byte"
        ? TEXT.tokens
        : 2 * PAIRS.tokens + 4 * PAIRS.vocabulary);
    for (const memory of everyWay(config)) {
      const { keeps, panelBytes, overlaps } = memory;
      const gradients =
        (overlaps ? 2 : 1) * frameBytes(config.gradientDtype, table.length);
      const packedWeights = new PackedWeights(panelBytes);
      expect(arena.ownedBytes).toBe(panelBytes);
      const frames = shards.map((shard) => ({
        ...shard,
        dtype,
        payload: new Uint8Array(frameBytes(dtype, shard.length)),
      }));
      // Twice: the panels of the first are there for the second. An evaluation may be what takes most.
      const kinds = ["eval", "train", "train"] as const;
      const taken = kinds.map((kind, index) =>
        arena.measure(() => {
          const steps = computeMicrobatch(
            { config, shards },
            { step: 0, frames, packedWeights },
            { sequences: config.sequences, tokens, targets: tokens },
            { kind, step: 0, index },
            keeps,
          );
          finish(steps);
        }),
      );
      packedWeights.free();
      // The region lies at the bottom, where the scopes step over it.
      expect(Math.max(...taken) + outside + gradients).toBe(
        trainerBytes(memory),
      );
      expect(taken[0]).toBeGreaterThan(0);
    }
  },
);

test("where there is little room, the second gradient goes first, then panels, then activations", () => {
  const config = configOf({ sequences: 8 });
  const all = trainerMemory(config, Infinity);
  expect(all).toMatchObject({ keeps: "all", overlaps: true });
  expect(all.panelBytes).toBeGreaterThan(0);
  const below = ({ ...memory }: typeof all) =>
    trainerMemory(config, trainerBytes(memory) - 1);
  const alone = below(all);
  expect(alone).toEqual({ ...all, overlaps: false, pushed: all.pushed / 2 });
  const fewer = below(alone);
  expect(fewer).toMatchObject({ keeps: "all", panelBytes: 0, overlaps: true });
  expect(below(fewer)).toMatchObject({ keeps: "all", overlaps: false });
  const products = below(below(fewer));
  expect(products).toMatchObject({ keeps: "products", overlaps: true });
  expect(products.panelBytes).toBeGreaterThan(0);
  const least = trainerMemory(config, 0);
  expect(least).toMatchObject({
    keeps: "inputs",
    panelBytes: 0,
    overlaps: false,
  });
  expect(trainerBytes(least)).toBeLessThan(trainerBytes(products));
});

test.each([
  // A quarter of a large machine, one trainer: as much as the kernels address.
  [6 * 1024, 1, 1024],
  [6 * 1024, 16, 384],
  // Of a small one: as much as a hosted trainer has, with which it trained before.
  [512, 16, 64],
])(
  "of %d MiB, each of %d joined trainers may take %d",
  (all, trainers, each) => {
    const MIB = 1024 * 1024;
    expect(joinedBytes(all * MIB, trainers)).toBe(each * MIB);
  },
);

test("a joined trainer computes nothing twice where a hosted one of the same run has to", () => {
  const model = MODEL_PRESETS.small;
  const config = configOf({ model, sequences: 8 });
  expect(trainerMemory(config)).toMatchObject({ keeps: "inputs" });
  const joined = trainerMemory(config, joinedBytes(1e9, 1));
  expect(joined).toMatchObject({ keeps: "all", overlaps: true });
});

test("a hosted trainer has room for 3.3 million parameters and 8 × 256 tokens, its arena for less than 64 MiB", () => {
  const model = { layers: 4, width: 256, heads: 4, context: 256 };
  const config = configOf({ model, sequences: 8 });
  expect(fits(config)).toBe(true);
  const { arena: bytes } = trainerMemory(config);
  expect(bytes).toBeLessThan(64 * 1024 * 1024);
  // Half of it computes nothing twice but what is elementwise.
  const half = trainerMemory({ ...config, sequences: 4 });
  expect(half).toMatchObject({ keeps: "products" });
});

test("tokens take the same room at every vocabulary: their logits are never all there", () => {
  const vocabularies = [2048, 4096, BPE_VOCABULARY.most];
  const arenas = vocabularies.map((vocabulary) =>
    [4, 8, 16].map((sequences) => {
      const config = configOf({ sequences }, { ...PAIRS, vocabulary });
      return trainerMemory(config, Infinity).arena;
    }),
  );
  const grown = arenas.map(([four, eight, sixteen]) => [
    eight! - four!,
    sixteen! - eight!,
  ]);
  for (const each of grown) expect(each).toEqual(grown[0]);
  // 2,048 tokens of 16,384 words: their logits alone would take 128 MiB.
  expect(arenas.at(-1)!.at(-1)).toBeLessThan(100 * 1024 * 1024);
});

test("a step that has no room is cut into more microbatches", () => {
  const step = configOf({ sequences: 64, microbatches: 2 });
  expect(fits(step)).toBe(false);
  const split = fittingSplit(step)!;
  expect(split.microbatches! * split.sequences!).toBe(128);
  expect(fits(applyChange(step, split))).toBe(true);
  const { microbatches } = split;
  expect(fits({ ...step, sequences: 256 / microbatches! })).toBe(false);
});

test.each([
  [{ sequences: 64 }, (change: object) => "microbatches" in change],
  [
    { model: { layers: 6, width: 384, heads: 6, context: 256 }, recipe: "f32" },
    (change: object) => "recipe" in change,
  ],
  [
    { model: { layers: 32, width: 512, heads: 8, context: 64 } },
    (change: object) => "model" in change,
  ],
] as const)("%j: the change that is named fits", (request, isExpected) => {
  const step = configOf(request as Omit<RunRequest, "dataset">);
  expect(trainerBytes(trainerMemory(step))).toBeGreaterThan(MAX_HOSTED_BYTES);
  const change = fittingChange(step)!;
  expect(isExpected(change)).toBe(true);
  expect(fits(applyChange(step, change))).toBe(true);
});

test("a larger vocabulary asks for more microbatches, and every preset finds its own", () => {
  const sizes = { sequences: 32, microbatches: 2 };
  const step = configOf(sizes, PAIRS);
  expect(fits(step)).toBe(true);
  const vocabulary = 8192;
  const larger = configOf(sizes, { ...PAIRS, vocabulary });
  expect(fits(larger)).toBe(false);
  // The largest of the preset that fits whole.
  for (const [preset, vocabulary] of [
    ["nano", 16_384],
    ["tiny", 16_384],
    ["small", 8192],
    ["medium", 4096],
  ] as const) {
    const model = MODEL_PRESETS[preset];
    const asked = { ...PAIRS, vocabulary };
    const whole = configOf({ model, sequences: 2 }, asked);
    expect(fittingSplit(whole), preset).toBeDefined();
    const double = applyChange(whole, {
      model: { vocabulary: 2 * vocabulary },
    });
    if (vocabulary === BPE_VOCABULARY.most) continue;
    expect(fittingSplit(double), preset).toBeUndefined();
    expect(fittingChange(double)?.model).toEqual({ vocabulary });
  }
});

test.each([
  [{ shards: 1 }, "mxfp4"],
  [{ shards: 3, optimizer: { name: "adamw" } }, "bf16"],
  // Matrices of several slices.
  [{ model: { layers: 1, width: 256, heads: 2, context: 64 } }, "f32"],
] as const)(
  "what an update of %j is said to need is what it takes",
  (request, gradientDtype) => {
    const config = configOf({ ...request, gradientDtype, microbatches: 3 });
    const { table } = modelOf(config.model);
    for (const range of shardRanges(table, config.shards)) {
      const geometry = { config, table, range };
      const vectors = stateParts(geometry).map(
        ({ length }) => new Float32Array(length),
      );
      const mean = reducedGradient(geometry, 0, (_, slice) => {
        const rest = range.length - slice * SLICE_LENGTH;
        const length = Math.min(SLICE_LENGTH, rest);
        return new Uint8Array(payloadBytes(gradientDtype, length));
      });
      const update = {
        step: 0,
        clipCoefficient: 1,
        learningRates: { matrix: 0.1, embedding: 0.1, vector: 0.1 },
      };
      const state = stateOf(geometry, vectors);
      const taken = arena.measure(() =>
        applyUpdate(geometry, state, update, mean),
      );
      expect(updateArenaBytes(geometry)).toBe(taken);
      expect(taken).toBeGreaterThan(4 * Math.min(SLICE_LENGTH, range.length));
    }
  },
);
