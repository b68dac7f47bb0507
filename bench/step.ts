/**
 * `step/<recipe>/<model>`: a whole microbatch, forward and backward, from tokens to the gradient of all parameters
 * (src/model/). Inside the clock: everything but the optimizer and the wire; weights are packed anew each
 * time, which a step of several microbatches does once.
 */
import type { Recipe } from "../src/api/recipe.ts";
import type { ModelShape } from "../src/api/run-config.ts";
import { finish } from "../src/kernels/steps.ts";
import { kernels } from "../src/kernels/runtime.ts";
import { modelOf } from "../src/model/architectures.ts";
import { flatGradient, flatParameters } from "../src/model/flat-vector.ts";
import type { Batch } from "../src/model/model.ts";
import { PackedWeights } from "../src/model/packed-weights.ts";
import { initialParameters } from "../src/model/parameters.ts";
import { MODEL_PRESETS } from "../src/cli/train/presets.ts";
import { trainerMemory } from "../src/training/memory.ts";
import type { KernelBenchmark } from "./benchmark.ts";

/** A model, and the sequences of a microbatch. */
export type StepModel = { name: string; shape: ModelShape; sequences: number };

const VOCABULARY = 256;

export const STEP_MODELS: readonly StepModel[] = [
  { name: "L4-d256", preset: "small", sequences: 4 } as const,
  { name: "L4-d128", preset: "tiny", sequences: 8 } as const,
].map(({ name, preset, sequences }) => ({
  name,
  shape: { ...MODEL_PRESETS[preset], vocabulary: VOCABULARY },
  sequences,
}));

const RECIPES = [
  "f32",
  "mxfp4-rht-sr",
  "mxfp4-rht-eden",
  "int6-mxfp4-rht-sr",
] as const satisfies Recipe[];

export function stepBenchmarks(model: StepModel): KernelBenchmark[] {
  const own = `step/f32/${model.name}`;
  const peer = `peer/pytorch/step-f32/${model.name}`;
  return RECIPES.map((recipe) => ({
    name: `step/${recipe}/${model.name}`,
    unit: "tokens/s",
    work: tokensOf(model),
    baselines: recipe === "f32" ? [peer] : [own, peer],
    setup: () => setup(model, recipe),
  }));
}

/** Of one microbatch. */
export function tokensOf({ shape, sequences }: StepModel): number {
  return sequences * shape.context;
}

function setup({ shape, sequences }: StepModel, recipe: Recipe): () => void {
  const { arena } = kernels();
  const model = modelOf(shape);
  const { length } = model.table;
  const initial = initialParameters(model.table, 1, 0, length);
  const parameters = flatParameters(arena.copyIn(initial));
  const gradientBase = arena.allocF32(length);
  const batch = fixedBatch(shape, sequences);
  const { panelBytes } = trainerMemory(
    {
      model: shape,
      recipe,
      gradientDtype: "f32",
      sequences,
      dataset: { tokens: 0, tokenizer: "byte" },
    },
    Infinity,
  );
  const noise = { seed: 1, step: 0, microbatch: 0 };
  return () => {
    const packedWeights = new PackedWeights(panelBytes);
    const gradient = flatGradient(gradientBase, model.table);
    const pass = { recipe, parameters, packedWeights, gradient, noise };
    finish(model.lossAndGradient({ ...pass, keeps: "all" }, batch));
    packedWeights.free();
  };
}

/** Tokens that a linear congruence draws, each the target of the one before it. */
function fixedBatch(
  { context, vocabulary }: ModelShape,
  sequences: number,
): Batch {
  let state = 1;
  const drawn = Int32Array.from({ length: sequences * context + 1 }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 16) % vocabulary;
  });
  return { sequences, tokens: drawn.slice(0, -1), targets: drawn.slice(1) };
}
