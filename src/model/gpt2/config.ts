/** Rules for a GPT-2's shape: to be valid, and to be trained with each recipe. */
import type {
  Gpt2Shape,
  ModelRequest,
  ModelSizes,
} from "../../api/run-config.ts";
import {
  checkSizes,
  checkTrainingSizes,
  invalidConfig,
} from "../shape-checks.ts";

/** Features of a block's wide tensors: three projections side by side, and the MLP's hidden layer. */
export function widths({ width }: Pick<ModelSizes, "width">): {
  qkv: number;
  hidden: number;
} {
  return { qkv: 3 * width, hidden: 4 * width };
}

/**
 * A GPT-2 has no other fields than sizes. Its `arch` is not stored, since its configs are older than other
 * architectures.
 */
export function completeShape({
  arch: _arch,
  ...asked
}: ModelRequest & ModelSizes): Gpt2Shape {
  const { layers, width, heads, context, vocabulary, ...others } = asked;
  const [other] = Object.entries(others).filter(
    ([, value]) => value !== undefined,
  );
  if (other)
    throw invalidConfig(
      `\`${other[0]}\` with \`arch\` llama alone`,
      `${String(other[1])} with gpt2`,
    );
  return { layers, width, heads, context, vocabulary };
}

/** Every size a whole number from 1, and `heads` a divisor of `width`. */
export function checkShape(shape: ModelSizes): void {
  checkSizes(shape, ["layers", "width", "heads", "context", "vocabulary"]);
  const { width, heads } = shape;
  if (width % heads !== 0)
    throw invalidConfig(
      `\`width\` to be a multiple of \`heads\` (${heads})`,
      String(width),
    );
}

/**
 * `checkShape`, and the rule of training: width and tokens of a microbatch are multiples of 64, or of the recipe's
 * rotation segments.
 */
export function checkTrainingShape(
  shape: ModelSizes,
  sequences: number,
  segmentLength?: number,
): void {
  checkShape(shape);
  const features = { "`width`": shape.width };
  checkTrainingSizes(features, shape, sequences, segmentLength);
}
