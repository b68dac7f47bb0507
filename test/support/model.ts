/** A model's passes over flat vectors that lie whole in the arena. Called inside `arena.scope`. */
import type { Recipe } from "../../src/api/recipe.ts";
import type { ModelShape } from "../../src/api/run-config.ts";
import type { Pointer } from "../../src/kernels/arena.ts";
import { finish } from "../../src/kernels/steps.ts";
import { modelOf } from "../../src/model/architectures.ts";
import { flatGradient, flatParameters } from "../../src/model/flat-vector.ts";
import type { NoiseCoordinates } from "../../src/model/linear-noise.ts";
import type {
  Batch,
  BatchLoss,
  KeptActivations,
} from "../../src/model/model.ts";
import { PackedWeights } from "../../src/model/packed-weights.ts";

const passOf = (recipe: Recipe, parameters: Pointer) => ({
  recipe,
  parameters: flatParameters(parameters),
  packedWeights: new PackedWeights(),
});

export function parameterTable(shape: ModelShape) {
  return modelOf(shape).table;
}

export function evaluateLoss(
  shape: ModelShape,
  recipe: Recipe,
  parameters: Pointer,
  batch: Batch,
): BatchLoss {
  return finish(modelOf(shape).loss(passOf(recipe, parameters), batch));
}

/** `gradient` is overwritten, padding becomes 0. */
export function lossAndGradient(
  shape: ModelShape,
  recipe: Recipe,
  parameters: Pointer,
  gradient: Pointer,
  batch: Batch,
  noise: NoiseCoordinates,
  keeps: KeptActivations = "all",
): BatchLoss {
  const model = modelOf(shape);
  return finish(
    model.lossAndGradient(
      {
        ...passOf(recipe, parameters),
        gradient: flatGradient(gradient, model.table),
        noise,
        keeps,
      },
      batch,
    ),
  );
}

export function logits(
  shape: ModelShape,
  recipe: Recipe,
  parameters: Pointer,
  tokens: Int32Array,
  sequences: number,
): Float32Array<ArrayBuffer> {
  return modelOf(shape).logits(passOf(recipe, parameters), tokens, sequences);
}
