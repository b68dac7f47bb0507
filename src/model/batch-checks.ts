/** Checks of a batch: the kernels use its tokens as table indices. */
import { AppError } from "../api/errors.ts";
import type { ModelShape } from "../api/run-config.ts";
import type { BatchShape } from "./layers.ts";
import { type Batch, IGNORED_TARGET } from "./model.ts";

/** B, T and N of `tokens`, after checking them. */
export function batchShape(
  shape: ModelShape,
  tokens: Int32Array,
  sequences: number,
): BatchShape {
  const N = tokens.length;
  const T = N / sequences;
  if (!Number.isSafeInteger(T) || T < 1 || T > shape.context) {
    throw new AppError(
      "shape_mismatch",
      `Expected ${sequences} sequences of 1 to ${shape.context} tokens each, got ${N} tokens`,
    );
  }
  checkTokens(tokens, 0, shape.vocabulary);
  return { B: sequences, T, N };
}

export function checkTargets(
  shape: ModelShape,
  { tokens, targets }: Batch,
): void {
  if (targets.length !== tokens.length) {
    throw new AppError(
      "shape_mismatch",
      `Expected a target for each of ${tokens.length} tokens, got ${targets.length}`,
    );
  }
  checkTokens(targets, IGNORED_TARGET, shape.vocabulary);
}

function checkTokens(
  tokens: Int32Array,
  smallest: number,
  vocabulary: number,
): void {
  for (const token of tokens) {
    if (token < smallest || token >= vocabulary) {
      throw new AppError(
        "invalid_number",
        `Expected tokens from ${smallest} to ${vocabulary - 1}, got ${token}`,
      );
    }
  }
}
