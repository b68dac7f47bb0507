import { describe, expect, test } from "vitest";
import type { PinnedDataset } from "../../src/api/dataset.ts";
import type { OptimizerConfig } from "../../src/api/optimizer.ts";
import type { LlamaShape } from "../../src/api/run-config.ts";
import { essentialConfig } from "../../src/training/checkpoint.ts";
import {
  completeConfig,
  type ImportedRequest,
} from "../../src/training/config.ts";
import {
  runRequestSchema,
  storedModelSchema,
} from "../../src/training/run-request.ts";

const TEXT: PinnedDataset = {
  name: "text",
  digest: "0".repeat(64),
  tokens: 1_000_000,
  tokenizer: "byte",
  vocabulary: 256,
};

function configOf(
  request: object,
  dataset: Partial<PinnedDataset> = {},
  imported?: ImportedRequest,
) {
  return completeConfig(
    runRequestSchema().parse({ dataset: "text", ...request }),
    { ...TEXT, ...dataset },
    imported,
  );
}

test("the default run sees 1,024 tokens a step", () => {
  const config = configOf({});
  const { microbatches, sequences, model } = config;
  expect(microbatches * sequences * model.context).toBe(1024);
  expect(config.model.vocabulary).toBe(256);
  expect(config.dataset).toEqual(TEXT);
});

test("without `shards` there are as many as the parameters need, and two at least", () => {
  expect(configOf({}).shards).toBe(2);
  expect(
    configOf({ model: { width: 64, layers: 1, context: 64, heads: 1 } }).shards,
  ).toBe(2);
  const model = { layers: 6, width: 384, heads: 6, context: 256 };
  const { shards } = configOf({ model });
  expect(shards).toBe(5);
  expect(() => configOf({ model, shards: shards - 1 })).toThrow(/leave it out/);
  expect(configOf({ model, shards }).shards).toBe(shards);
});

test("what a config depends on does not hold the run's id", () => {
  expect(configOf({ run: "mine" })).toEqual(configOf({}));
});

test.each([
  [{ model: { width: 96 } }, /`width` to be a multiple of 64, got 96/],
  [{ model: { width: 64, heads: 3 } }, /multiple of `heads` \(3\), got 64/],
  [
    { model: { context: 96 }, sequences: 1 },
    /tokens of a microbatch to be a multiple of 64, got 1 sequences of 96 = 96/,
  ],
  [
    { model: { width: 64, layers: 1, context: 64 }, shards: 64 },
    /`shards` to be at most 10, the parts into which 7\d{4} parameters can be cut, got 64/,
  ],
  [
    { model: { width: 512, layers: 8 }, shards: 2 },
    /shards of at most 2359296 parameters, got \d+: 25\d{6} parameters in 2 shards; `shards` of \d+ fit, or leave it out/,
  ],
  [
    { microbatches: 8, subtree: 3 },
    /`subtree` to be a power of two below the 8 microbatches of a step, got 3; leave it out/,
  ],
  [
    { microbatches: 8, subtree: 8 },
    /below the 8 microbatches of a step, got 8/,
  ],
  [
    { model: { context: 4096, width: 64 }, sequences: 8 },
    /at most 16384 tokens in a microbatch, got 8 sequences of 4096 = 32768; at most 4 sequences fit/,
  ],
  [
    { model: { width: 768, layers: 24 } },
    /parameters for at most 64 shards of 2359296, got 170\d{6}/,
  ],
  [
    { model: { width: 1024 } },
    /matrices of at most 2359296 parameters, since a matrix is never split between shards, got 3145728 in transformer\.h\.0\.attn\.c_attn\.weight/,
  ],
])("%j is refused with what was expected and what came", (request, message) => {
  expect(() => configOf(request)).toThrow(message);
});

test("a corpus too small for one window of each split is refused", () => {
  const model = { context: 64, width: 64 };
  // 5 % of 1,300 is 65: one window of 64 and its targets.
  expect(() => configOf({ model }, { tokens: 1300 })).not.toThrow();
  expect(() => configOf({ model }, { tokens: 1279 })).toThrow(
    /at least 65 tokens \(context \+ 1\) in both splits, got 1215 to train on and 64 held out of 1279/,
  );
});

test("every rule that is broken is named", () => {
  expect(() =>
    configOf(
      { model: { width: 96, context: 128 }, sequences: 200 },
      { tokens: 10 },
    ),
  ).toThrow(/multiple of 64.*at most 16384 tokens.*at least 129 tokens/);
});

test("a Llama's config says all that it is; a GPT-2's is what it was before there were others", () => {
  const sizes = { layers: 1, width: 64, heads: 2, context: 64 };
  const { model } = configOf({ model: { ...sizes, arch: "llama" } });
  expect(model).toEqual({
    arch: "llama",
    ...sizes,
    groups: 1,
    headWidth: 32,
    hidden: 192,
    vocabulary: 256,
    ropeBase: 10_000,
    epsilon: 1e-5,
    tied: true,
    headNorm: false,
  });
  const gpt2 = { ...sizes, vocabulary: 256 };
  for (const asked of [sizes, { ...sizes, arch: "gpt2" }]) {
    const written = JSON.stringify(configOf({ model: asked }).model);
    expect(written).toBe(JSON.stringify(gpt2));
  }
  for (const whole of [model, gpt2])
    expect(storedModelSchema(whole).parse(whole)).toEqual(whole);
  const { hidden: _hidden, ...part } = model as LlamaShape;
  expect(storedModelSchema(part).safeParse(part).success).toBe(false);
});

test.each([
  [{ groups: 2 }, /Expected `groups` with `arch` llama alone, got 2 with gpt2/],
  [{ arch: "llama", groups: 3 }, /`heads` to be a multiple of `groups` \(3\)/],
  [{ arch: "llama", hidden: 100 }, /`hidden` to be a multiple of 64, got 100/],
])("sizes that no such model has are refused: %j", (model, message) => {
  expect(() => configOf({ model })).toThrow(message);
});

describe("a run that goes on from step 60 of 100", () => {
  type Told = Partial<OptimizerConfig>;
  const resumed = (before: Told, told: Told, steps = 100) => {
    const config = configOf({ steps: 100, optimizer: before });
    const { optimizer } = configOf(
      { from: "state", resume: true, steps, optimizer: told },
      {},
      {
        from: { folder: "state", digest: "0".repeat(64) },
        shape: config.model,
        tokenizer: undefined,
        run: { step: 60, tokens: 0, config: essentialConfig(config) },
      },
    );
    return { before: config.optimizer, optimizer };
  };

  test("has the optimizer of its checkpoint, but for what is told anew", () => {
    const { before, optimizer } = resumed(
      { schedule: "constant", momentum: 0.8, warmupSteps: 10 },
      { cooldownSteps: 30, weightDecay: 0 },
      120,
    );
    expect(optimizer).toEqual({ ...before, cooldownSteps: 30, weightDecay: 0 });
    const other = resumed({ name: "adamw" }, {});
    expect(JSON.stringify(other.optimizer)).toBe(JSON.stringify(other.before));
  });

  test.each<[before: Told, told: Told, learningRate: number, matrix: number]>([
    [{ name: "adamw" }, { learningRate: 0.001 }, 0.001, 0.001],
    [
      { name: "adamw", learningRate: 0.002 },
      { learningRate: 0.001 },
      0.001,
      0.001,
    ],
    [
      { name: "adamw", matrixLearningRate: 0.004 },
      { learningRate: 0.001 },
      0.001,
      0.004,
    ],
    [{ name: "adamw" }, { matrixLearningRate: 0.001 }, 0.008, 0.001],
    [{}, { learningRate: 0.001 }, 0.001, 0.03],
    [{ matrixLearningRate: 0.008 }, { learningRate: 0.001 }, 0.001, 0.008],
  ])(
    "%j and told %j has rates %d, and %d of matrices: AdamW's one rate rules both",
    (before, told, learningRate, matrixLearningRate) => {
      const { optimizer } = resumed(before, told);
      expect(optimizer).toMatchObject({ learningRate, matrixLearningRate });
    },
  );

  test.each<[before: Told, told: Told, steps: number, problem: string]>([
    [{ schedule: "constant", cooldownSteps: 30 }, { schedule: "linear" }, 100, "schedule constant only, got 30 with linear"], // prettier-ignore
    [{ schedule: "constant", warmupSteps: 20, cooldownSteps: 60 }, {}, 70, "at most 70 steps of warm-up and cool-down, got 20 and 60"], // prettier-ignore
    [{}, { cooldownSteps: 30 }, 100, "schedule constant only, got 30 with linear"], // prettier-ignore
    [{ name: "adamw" }, { momentum: 0.9 }, 100, "`optimizer.momentum` with optimizer muon only"], // prettier-ignore
    [{ schedule: "constant" }, { finalLearningRateRatio: 0.1 }, 100, "`optimizer.finalLearningRateRatio` with `cooldownSteps`"], // prettier-ignore
    [{ name: "adamw" }, { name: "muon" }, 100, "`optimizer.name` to be adamw, whose state is in the checkpoint, got muon"], // prettier-ignore
  ])(
    "%j is refused what makes no sense beside it, told %j and %d steps",
    (before, told, steps, problem) => {
      expect(() => resumed(before, told, steps)).toThrow(problem);
    },
  );
});
