/** The head and its cross-entropy, over all tokens of a batch. Logits are in memory only here. */
import type { Pointer } from "../kernels/arena.ts";
import {
  softmaxCrossEntropyBackward,
  softmaxCrossEntropyForward,
} from "../kernels/cross-entropy.ts";
import { kernels } from "../kernels/runtime.ts";
import type { Recipe } from "../api/recipe.ts";
import { headBackward, headForward } from "./head.ts";

/** What the loss is of: hidden f32 [N, C], targets i32 [N], and the head's weight f32 [V, C]. */
export type HeadInputs = {
  hidden: Pointer;
  targets: Pointer;
  weight: Pointer;
  tokens: number;
  width: number;
  vocabulary: number;
  recipe: Recipe;
};

/** The sum of the loss over the counted targets. */
export function headLoss(inputs: HeadInputs): number {
  return kernels().arena.scope(() => lossAndLogits(inputs).lossSum);
}

/**
 * The same, and its mean's gradients, over `counted` targets: overwrites dHidden f32 [N, C], adds to dWeight
 * f32 [V, C].
 */
export function headLossAndGradient(
  dHidden: Pointer,
  dWeight: Pointer,
  inputs: HeadInputs,
  counted: number,
): number {
  const { hidden, targets, weight, tokens, width, vocabulary, recipe } = inputs;
  return kernels().arena.scope(() => {
    const { lossSum, logits, logSumExp } = lossAndLogits(inputs);
    const dLogits = logits; // in their place
    softmaxCrossEntropyBackward(
      dLogits,
      logits,
      logSumExp,
      targets,
      tokens,
      vocabulary,
      counted > 0 ? 1 / counted : 0,
    );
    headBackward(
      dHidden,
      dWeight,
      dLogits,
      hidden,
      weight,
      tokens,
      width,
      vocabulary,
      recipe,
    );
    return lossSum;
  });
}

/** In the caller's scope. */
function lossAndLogits({
  hidden,
  targets,
  weight,
  tokens: N,
  width,
  vocabulary: V,
  recipe,
}: HeadInputs) {
  const { arena } = kernels();
  const logits = arena.allocF32(N * V);
  const logSumExp = arena.allocF32(N);
  headForward(logits, hidden, weight, N, width, V, recipe);
  const lossSum = softmaxCrossEntropyForward(logSumExp, logits, targets, N, V);
  return { lossSum, logits, logSumExp };
}
