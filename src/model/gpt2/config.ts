/** What a model's shape must satisfy: to exist at all, and to be trained in any recipe. */
import { AppError } from "../../api/errors.ts";
import type { ModelShape } from "../../api/types.ts";

/** RHT segments (64) and MXFP4 blocks (32) run along features and tokens, so training wants both whole. */
const TRAINING_MULTIPLE = 64;

/** Features of a block's wide tensors: three projections side by side, and the MLP's hidden layer. */
export function widths({ width }: Pick<ModelShape, "width">): {
  qkv: number;
  hidden: number;
} {
  return { qkv: 3 * width, hidden: 4 * width };
}

/** Every size a whole number from 1, and `heads` a divisor of `width`. */
export function checkShape(shape: ModelShape): void {
  for (const name of [
    "layers",
    "width",
    "heads",
    "context",
    "vocabulary",
  ] as const) {
    const value = shape[name];
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new AppError(
        "invalid_config",
        `Expected \`${name}\` to be a whole number from 1, got ${value}`,
      );
    }
  }
  if (shape.width % shape.heads !== 0) {
    throw new AppError(
      "invalid_config",
      `Expected \`width\` to be a multiple of \`heads\` (${shape.heads}), got ${shape.width}`,
    );
  }
}

/**
 * `checkShape`, and what training adds: width and the tokens of a microbatch are multiples of 64, or of the
 * segments that the recipe rotates.
 */
export function checkTrainingShape(
  shape: ModelShape,
  sequences: number,
  segmentLength = 0,
): void {
  checkShape(shape);
  const multiple = Math.max(TRAINING_MULTIPLE, segmentLength);
  if (!Number.isSafeInteger(sequences) || sequences < 1) {
    throw new AppError(
      "invalid_config",
      `Expected \`sequences\` to be a whole number from 1, got ${sequences}`,
    );
  }
  if (shape.width % multiple !== 0) {
    throw new AppError(
      "invalid_config",
      `Expected \`width\` to be a multiple of ${multiple}, got ${shape.width}`,
    );
  }
  const tokens = sequences * shape.context;
  if (tokens % multiple !== 0) {
    throw new AppError(
      "invalid_config",
      `Expected the tokens of a microbatch to be a multiple of ${multiple}, got ${sequences} sequences of ${shape.context} = ${tokens}`,
    );
  }
}
