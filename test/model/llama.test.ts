import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { RECIPE_NAMES, segmentLength } from "../../src/api/recipe.ts";
import type { LlamaShape } from "../../src/api/run-config.ts";
import {
  architectureOf,
  completeShape,
  importedShape,
} from "../../src/model/architectures.ts";
import { frequencies } from "../../src/model/llama/rotary-angles.ts";
import {
  type Batch,
  KEPT_ACTIVATIONS,
  type KeptActivations,
} from "../../src/model/model.ts";
import {
  initialParameters,
  paddingRanges,
} from "../../src/model/parameters.ts";
import { llamaLogits } from "../reference/llama.ts";
import { softmaxCrossEntropy } from "../reference/layers.ts";
import { expectClose } from "../support/close.ts";
import {
  evaluateLoss,
  logits,
  lossAndGradient,
  parameterTable,
} from "../support/model.ts";
import { normals, uniform } from "../support/random.ts";

const NOISE = { seed: 3, step: 0, microbatch: 0 };

/** No size a multiple of 4, so that every kernel meets its remainder. */
const odd: LlamaShape = {
  arch: "llama",
  layers: 2,
  width: 6,
  heads: 4,
  groups: 2,
  headWidth: 6,
  hidden: 7,
  context: 9,
  vocabulary: 9,
  ropeBase: 100,
  epsilon: 1e-3,
  tied: true,
  headNorm: false,
};
/** Llama's class has biases, and takes no width but a multiple of its heads. */
const EVEN_HEADS = { heads: 3, groups: 1 };
const SHAPES: [string, LlamaShape][] = [
  ["tied, two heads a group", odd],
  ["untied, each head its own group", { ...odd, tied: false, groups: 4 }],
  ["heads normed, one group", { ...odd, headNorm: true, groups: 1 }],
  ["biases", { ...odd, qkvBias: true }],
  [
    "biases of all linear layers",
    { ...odd, ...EVEN_HEADS, qkvBias: true, outBias: true, mlpBias: true },
  ],
  ["biases of the MLP", { ...odd, ...EVEN_HEADS, mlpBias: true }],
  [
    "biases of attention, heads normed",
    { ...odd, headNorm: true, qkvBias: true, outBias: true },
  ],
  [
    "long waves slowed",
    {
      ...odd,
      ropeScaling: {
        type: "llama3",
        factor: 8,
        lowFrequencyFactor: 1,
        highFrequencyFactor: 4,
        originalContext: 40,
      },
    },
  ],
  ["all slowed", { ...odd, ropeScaling: { type: "linear", factor: 3 } }],
  ...[true, false].map((truncate): [string, LlamaShape] => [
    `biases, YaRN${truncate ? "" : " of any ramp"}`,
    {
      ...odd,
      qkvBias: true,
      ropeScaling: {
        type: "yarn",
        factor: 8,
        betaFast: 4,
        betaSlow: 1,
        originalContext: 40,
        attentionFactor: 1.3,
        truncate,
      },
    },
  ]),
  [
    "each pair slowed by its own",
    { ...odd, ropeScaling: { type: "factors", factors: [1, 2.5, 7] } },
  ],
  [
    "each pair slowed by its own, larger queries",
    {
      ...odd,
      ropeScaling: {
        type: "factors",
        factors: [1, 2.5, 7],
        attentionFactor: 1.3,
      },
    },
  ],
];

function randomBatch(vocabulary: number, sequences: number, T: number): Batch {
  const next = uniform(sequences + T);
  const token = () => Math.floor(next() * vocabulary);
  const tokens = Int32Array.from({ length: sequences * T }, token);
  return { sequences, tokens, targets: tokens.map(token) };
}

/** Larger than initial ones, so that every part of the model bends; padding 0. */
function roughParameters(shape: LlamaShape): Float32Array {
  const { tensors, length } = parameterTable(shape);
  const parameters = new Float32Array(length);
  for (const [index, tensor] of tensors.entries()) {
    const isGain = tensor.group === "vector";
    const values = normals(tensor.length, index + 1).map((value) =>
      isGain ? 1 + 0.3 * value : 0.3 * value,
    );
    parameters.set(values, tensor.offset);
  }
  return parameters;
}

/** By the slow forward pass in f64. */
function twinLossSum(
  shape: LlamaShape,
  parameters: Float64Array,
  { sequences, tokens, targets }: Batch,
): number {
  const { tensors } = parameterTable(shape);
  const config = architectureOf(shape).huggingFaceConfig(shape) as Parameters<
    typeof llamaLogits
  >[0];
  const weights = (name: string) => {
    const tensor = tensors.find((each) => each.name === name);
    return (
      tensor &&
      parameters.subarray(tensor.offset, tensor.offset + tensor.length)
    );
  };
  const T = tokens.length / sequences;
  let sum = 0;
  for (let from = 0; from < tokens.length; from += T) {
    const rows = llamaLogits(config, weights, tokens.subarray(from, from + T));
    const flat = rows.flatMap((row) => Array.from(row));
    const own = targets.subarray(from, from + T);
    sum += softmaxCrossEntropy(flat, own, shape.vocabulary).lossSum;
  }
  return sum;
}

function run(
  shape: LlamaShape,
  batch: Batch,
  recipe: "f32" | "bf16" = "f32",
  keeps: KeptActivations = "all",
  parameters = roughParameters(shape),
) {
  const { length } = parameterTable(shape);
  return arena.scope(() => {
    const source = arena.copyIn(parameters);
    const gradient = arena.copyIn(new Float32Array(length).fill(7));
    const loss = lossAndGradient(
      shape,
      recipe,
      source,
      gradient,
      batch,
      NOISE,
      keeps,
    );
    return {
      ...loss,
      evaluated: evaluateLoss(shape, recipe, source, batch),
      gradient: arena.f32(gradient, length).slice(),
    };
  });
}

describe.each(SHAPES)("a Llama, %s", (_, shape) => {
  const table = parameterTable(shape);

  it("has the loss of its f64 twin and the gradient of that loss, element by element", () => {
    // Shorter than the context, and one target not counted.
    const batch = randomBatch(shape.vocabulary, 2, 4);
    batch.targets[3] = -1;
    const got = run(shape, batch);

    const exact = Float64Array.from(roughParameters(shape));
    const lossSum = twinLossSum(shape, exact, batch);
    expect(got.tokens).toBe(7);
    expectClose([got.lossSum / lossSum], [1], 1e-5);

    const step = 1e-5;
    const want = new Float64Array(table.length);
    for (const { offset, length } of table.tensors) {
      for (let i = offset; i < offset + length; i++) {
        const value = exact[i]!;
        exact[i] = value + step;
        const above = twinLossSum(shape, exact, batch);
        exact[i] = value - step;
        const below = twinLossSum(shape, exact, batch);
        exact[i] = value;
        want[i] = (above - below) / (2 * step) / 7;
      }
    }
    expectClose(got.gradient, want, 2e-5);
  });

  it("has the same gradient from less than from all activations, and the loss of an evaluation", () => {
    const batch = randomBatch(shape.vocabulary, 3, 9);
    for (const recipe of ["f32", "bf16"] as const) {
      const all = run(shape, batch, recipe);
      const { lossSum, tokens } = all;
      expect(all.evaluated).toEqual({ lossSum, tokens });
      for (const keeps of KEPT_ACTIVATIONS)
        expect(run(shape, batch, recipe, keeps)).toEqual(all);
    }
  });

  it("makes loss and gradient NaN when a parameter is", () => {
    const parameters = roughParameters(shape);
    const { offset } = table.tensors.find(({ name }) =>
      name.endsWith("layers.1.mlp.up_proj.weight"),
    )!;
    parameters[offset + 5] = NaN;
    const batch = randomBatch(shape.vocabulary, 1, 5);
    const got = run(shape, batch, "f32", "all", parameters);
    expect(got.lossSum).toBeNaN();
    expect(got.gradient.some(Number.isNaN)).toBe(true);
  });

  it("gives the logits of all positions, and none sees later tokens", () => {
    const { tokens } = randomBatch(shape.vocabulary, 1, 9);
    arena.scope(() => {
      const parameters = arena.copyIn(roughParameters(shape));
      const all = logits(shape, "f32", parameters, tokens, 1);
      const start = logits(shape, "f32", parameters, tokens.subarray(0, 4), 1);
      expect(start).toEqual(all.subarray(0, 4 * shape.vocabulary));
    });
  });

  it("is the model that its config.json tells of", () => {
    const config = architectureOf(shape).huggingFaceConfig(shape);
    expect(importedShape(config)).toEqual(shape);
  });
});

describe("the parameters of a Llama", () => {
  const shape: LlamaShape = { ...odd, headNorm: true, tied: false };
  const { tensors } = parameterTable(shape);
  const of = (part: string) =>
    tensors.find(({ name }) => name.endsWith(`layers.1.${part}.weight`))!;

  it("lie in the order of groups; what reads one input without a gap, all else in chunks", () => {
    const groups = tensors.map(({ group }) => group);
    expect(groups).toEqual([
      ...Array.from({ length: 7 * 2 }, () => "matrix"),
      "embedding",
      "embedding",
      ...Array.from({ length: 4 * 2 + 1 }, () => "vector"),
    ]);
    const end = ({ offset, length }: (typeof tensors)[0]) => offset + length;
    expect(of("self_attn.k_proj").offset).toBe(end(of("self_attn.q_proj")));
    expect(of("self_attn.v_proj").offset).toBe(end(of("self_attn.k_proj")));
    expect(of("mlp.up_proj").offset).toBe(end(of("mlp.gate_proj")));
    for (const { group, isJoined, offset } of tensors)
      expect(offset % (group === "vector" ? 64 : isJoined ? 1 : 4096)).toBe(0);
    expect(paddingRanges(parameterTable(shape), 0, 4096)[0]!.start).toBe(
      (4 + 2 + 2) * 6 * 6,
    );
  });

  it("begin as normal draws, norms as ones", () => {
    const wide = parameterTable({ ...shape, width: 100, vocabulary: 256 });
    const values = initialParameters(wide, 5, 0, wide.length);
    for (const { name, group, offset, length } of wide.tensors) {
      const own = values.subarray(offset, offset + length);
      if (group === "vector") {
        expect(own.every((value) => value === 1)).toBe(true);
        continue;
      }
      const deviation = /(o_proj|down_proj)/.test(name) ? 0.01 : 0.02;
      const square = own.reduce((sum, value) => sum + value * value, 0);
      const error = Math.sqrt(square / length) / deviation - 1;
      expect(Math.abs(error)).toBeLessThan(4 / Math.sqrt(2 * length));
    }
  });
});

describe("recipes train a Llama", () => {
  const shape = completeShape({
    arch: "llama",
    layers: 2,
    width: 64,
    heads: 4,
    context: 32,
    vocabulary: 32,
    headNorm: true,
  });
  const table = parameterTable(shape);
  const tokens = Int32Array.from(
    { length: 64 },
    (_, i) => (5 * i + (i >> 5)) % 32,
  );
  const targets = tokens.map((token) => (token + 5) % 32);
  const batch = { sequences: 2, tokens, targets };

  it.each(RECIPE_NAMES.filter((recipe) => segmentLength(recipe) <= 64))(
    "%s: a gradient near f32's, down which the loss falls",
    (recipe) =>
      arena.scope(() => {
        const initial = initialParameters(table, 1, 0, table.length);
        const parameters = arena.copyIn(initial);
        const gradients = (["f32", recipe] as const).map((each) => {
          const gradient = arena.allocF32(table.length);
          lossAndGradient(shape, each, parameters, gradient, batch, NOISE);
          return arena.f32(gradient, table.length).slice();
        });
        const [exact, own] = gradients as [Float32Array, Float32Array];
        const norm = Math.hypot(...exact);
        const error = Math.hypot(...own.map((value, i) => value - exact[i]!));
        expect(error / norm).toBeLessThan(recipe === "bf16" ? 0.02 : 0.6);
        const before = evaluateLoss(shape, recipe, parameters, batch);
        const moved = initial.map((value, i) => value - (own[i]! * 0.5) / norm);
        const after = evaluateLoss(shape, recipe, arena.copyIn(moved), batch);
        expect(after.lossSum).toBeLessThan(before.lossSum - 1);
      }),
  );
});

describe("shapes of a Llama", () => {
  const sizes = { layers: 4, width: 128, heads: 4, context: 128 };
  const asked = { ...sizes, vocabulary: 256, arch: "llama" } as const;

  it("have a block of as many weights as GPT-2, where nothing is told", () => {
    const shape = completeShape(asked);
    expect(shape).toMatchObject({ groups: 2, headWidth: 32, hidden: 384 });
    const weights = (of: typeof shape) =>
      parameterTable(of)
        .tensors.filter(({ group }) => group === "matrix")
        .reduce((sum, { length }) => sum + length, 0);
    const gpt2 = completeShape({ ...sizes, vocabulary: 256 });
    expect(weights(shape)).toBe(weights(gpt2));
    expect(gpt2).not.toHaveProperty("arch");
  });

  it.each([
    [{ groups: 3 }, "`heads` to be a multiple of `groups` (3), got 4"],
    [{ heads: 5 }, "`width` to be a multiple of `heads` (5), or a `headWidth`"],
    [{ headWidth: 3 }, "an even `headWidth`, of pairs that turn, got 3"],
    [{ hidden: 0.5 }, "`hidden` to be a whole number from 1, got 0.5"],
    [{ epsilon: 0 }, "`epsilon` above 0, got 0"],
    [{ headNorm: true, qkvBias: true }, "`headNorm` or `qkvBias`, got both"],
    [{ headNorm: true, mlpBias: true }, "`headNorm` or `mlpBias`, got both"],
    [{ outBias: true }, "`qkvBias` beside `outBias`, got `outBias` alone"],
    [
      { qkvBias: true, mlpBias: true },
      "`outBias` beside `qkvBias` and `mlpBias`, got none",
    ],
    [
      { mlpBias: true, heads: 6, headWidth: 8 },
      "`width` to be a multiple of `heads` (6) of a Llama with biases, got 128",
    ],
  ])("that cannot be are refused: %j", (change, message) => {
    const shape = { ...completeShape({ ...asked, ...change }), ...change };
    expect(() => architectureOf(shape).check(shape)).toThrow(message);
  });

  it.each([
    [{ hidden: 96 }, "Expected `hidden` to be a multiple of 64, got 96"],
    [{ headWidth: 8 }, "`heads` · `headWidth` to be a multiple of 64, got 32"],
    [
      { groups: 1, headWidth: 16 },
      "(`heads` + 2 · `groups`) · `headWidth` to be a multiple of 64, got 96",
    ],
  ])("that no recipe trains are refused: %j", (change, message) => {
    const shape = completeShape({ ...asked, ...change });
    const architecture = architectureOf(shape);
    expect(() => architecture.checkTraining(shape, 1)).toThrow(message);
  });

  it("of a GPT-2 have no sizes of a Llama", () => {
    expect(() => completeShape({ ...sizes, vocabulary: 1, groups: 2 })).toThrow(
      "Expected `groups` with `arch` llama alone, got 2 with gpt2",
    );
  });
});

it("rotary frequencies are powers of the base", () => {
  const turns = frequencies(10_000, 16);
  for (const [i, turn] of turns.entries())
    expectClose([turn * 10_000 ** (i / 16)], [1], 1e-12);
});
