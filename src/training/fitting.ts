/** Whether a hosted trainer can compute a run's microbatches, and what to change when it cannot. */
import { AppError } from "../api/errors.ts";
import { isDense, RECIPES } from "../api/recipe.ts";
import { BPE_VOCABULARY } from "../api/dataset.ts";
import type { ModelSizes, RunConfig } from "../api/run-config.ts";
import { microbatchProblems } from "./config-problems.ts";
import {
  MAX_HOSTED_BYTES,
  type MemoryConfig,
  trainerBytes,
  trainerMemory,
} from "./memory.ts";
import { MAX_MICROBATCHES } from "./run-request.ts";

/** The part of a config that determines memory; a step has `microbatches` of `sequences` each. */
export type StepConfig = MemoryConfig & Pick<RunConfig, "microbatches">;

/** A change to a step. */
export type StepChange = Partial<
  Pick<StepConfig, "recipe" | "gradientDtype" | "microbatches" | "sequences">
> & { model?: Partial<ModelSizes> };

export function applyChange(step: StepConfig, change: StepChange): StepConfig {
  return { ...step, ...change, model: { ...step.model, ...change.model } };
}

/** Whether a hosted trainer has room for the step's microbatches. */
export function fits(step: StepConfig): boolean {
  return (
    microbatchProblems(step).length === 0 &&
    trainerBytes(trainerMemory(step)) <= MAX_HOSTED_BYTES
  );
}

/**
 * The smallest number of microbatches, at least the step's own, with which a hosted trainer has room; the batch stays
 * the same.
 */
export function fittingSplit(step: StepConfig): StepChange | undefined {
  const batch = step.microbatches * step.sequences;
  for (let count = step.microbatches; count <= MAX_MICROBATCHES; count++) {
    if (batch % count !== 0) continue;
    const split = { microbatches: count, sequences: batch / count };
    if (fits(applyChange(step, split))) return split;
  }
  return undefined;
}

/**
 * The smallest change with which a hosted trainer has room for the step. Tried in this order: more microbatches;
 * gradients or products in MXFP4; a smaller vocabulary; fewer layers; a shorter context; a smaller width.
 */
export function fittingChange(step: StepConfig): StepChange | undefined {
  for (const change of changes(step)) {
    const split = fittingSplit(applyChange(step, change));
    if (!split) continue;
    return split.microbatches === step.microbatches
      ? change
      : { ...change, ...split };
  }
  return undefined;
}

/** Errors: `invalid_config`, suggesting a change that fits */
export function checkHostable(step: StepConfig): void {
  const bytes = trainerBytes(trainerMemory(step));
  if (bytes <= MAX_HOSTED_BYTES) return;
  const change = fittingChange(step);
  const advice = change
    ? `; a run with ${JSON.stringify(change)} fits`
    : "; take a smaller model";
  throw new AppError(
    "invalid_config",
    `Expected a run whose edge trainers need at most ${MAX_HOSTED_BYTES} bytes, got ${bytes}${advice}. Trainers in processes of their own can compute it as it is`,
  );
}

function* changes(step: StepConfig): Generator<StepChange> {
  const { model, dataset } = step;
  const gradients: StepChange = step.gradientDtype.startsWith("mxfp4")
    ? {}
    : { gradientDtype: "mxfp4" };
  const { dInput, dWeight } = RECIPES[step.recipe];
  const products: StepChange =
    isDense(dInput) || isDense(dWeight) ? { recipe: "mxfp4-rht-sr" } : {};
  const lightest = { ...gradients, ...products };
  yield* [{}, gradients, products, lightest];
  // Only a vocabulary of byte pairs can be made smaller.
  const least = dataset.tokenizer === "byte" ? Infinity : BPE_VOCABULARY.least;
  for (let ids = half(model.vocabulary); ids >= least; ids = half(ids)) {
    yield { ...lightest, model: { vocabulary: ids } };
  }
  for (const size of ["layers", "context", "width"] as const) {
    for (let value = half(model[size]); value >= 1; value = half(value)) {
      yield { ...lightest, model: { [size]: value } };
    }
  }
}

function half(value: number): number {
  return Math.floor(value / 2);
}
