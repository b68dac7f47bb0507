/** Defaults and rules for a Llama's shape: to be valid, and to be trained with each recipe. */
import type {
  LlamaShape,
  ModelRequest,
  ModelSizes,
} from "../../api/run-config.ts";
import {
  checkSizes,
  checkTrainingSizes,
  invalidConfig,
} from "../shape-checks.ts";

/** Output features of a block's linear layers; q, k and v, and gate and up, are multiplied as one matrix each. */
export function widths({ heads, groups, headWidth, hidden }: LlamaShape): {
  queries: number;
  keys: number;
  qkv: number;
  gateUp: number;
} {
  const queries = heads * headWidth;
  const keys = groups * headWidth;
  return { queries, keys, qkv: queries + 2 * keys, gateUp: 2 * hidden };
}

/**
 * Default: two heads per group if even, and a hidden width of 3 · width; a block then has as many weights as GPT-2's.
 */
export function completeShape(asked: ModelRequest & ModelSizes): LlamaShape {
  const { layers, width, heads, context, vocabulary } = asked;
  return {
    arch: "llama",
    layers,
    width,
    heads,
    groups: asked.groups ?? (heads % 2 === 0 ? heads / 2 : heads),
    headWidth: asked.headWidth ?? width / heads,
    hidden: asked.hidden ?? 3 * width,
    context,
    vocabulary,
    ropeBase: asked.ropeBase ?? 10_000,
    epsilon: asked.epsilon ?? 1e-5,
    tied: asked.tied ?? true,
    headNorm: asked.headNorm ?? false,
    ...(asked.qkvBias && { qkvBias: true }),
  };
}

/** Sizes are whole numbers from 1, `heads` a multiple of `groups`, and `headWidth` even. Errors: `invalid_config` */
export function checkShape(shape: LlamaShape): void {
  const { width, heads, groups, headWidth } = shape;
  checkSizes(shape, [
    "layers",
    "width",
    "heads",
    "groups",
    "hidden",
    "context",
    "vocabulary",
  ]);
  if (!Number.isSafeInteger(headWidth) && headWidth === width / heads)
    throw invalidConfig(
      `\`width\` to be a multiple of \`heads\` (${heads}), or a \`headWidth\``,
      String(width),
    );
  checkSizes(shape, ["headWidth"]);
  if (heads % groups !== 0)
    throw invalidConfig(
      `\`heads\` to be a multiple of \`groups\` (${groups})`,
      String(heads),
    );
  if (headWidth % 2 !== 0)
    throw invalidConfig(
      "an even `headWidth`, of pairs that turn",
      String(headWidth),
    );
  checkBiases(shape);
  for (const name of ["ropeBase", "epsilon"] as const) {
    const value = shape[name];
    if (!(value > 0 && value < Infinity))
      throw invalidConfig(`\`${name}\` above 0`, String(value));
  }
}

/** Only combinations that a class of transformers has. Errors: `invalid_config` */
function checkBiases(shape: LlamaShape): void {
  const { headNorm, qkvBias, outBias, mlpBias, width, heads } = shape;
  if (headNorm && qkvBias && !outBias)
    throw invalidConfig("`headNorm` or `qkvBias`", "both, as no model has");
  if (headNorm && mlpBias)
    throw invalidConfig("`headNorm` or `mlpBias`", "both, as no model has");
  if (outBias && !qkvBias)
    throw invalidConfig("`qkvBias` beside `outBias`", "`outBias` alone");
  if (mlpBias && qkvBias && !outBias)
    throw invalidConfig("`outBias` beside `qkvBias` and `mlpBias`", "none");
  if ((outBias || mlpBias) && !headNorm && width % heads !== 0)
    throw invalidConfig(
      `\`width\` to be a multiple of \`heads\` (${heads}) of a Llama with biases`,
      String(width),
    );
}

/**
 * `checkShape`, and the rule of training: features of linear layers and tokens of a microbatch are multiples of 64, or
 * of the recipe's rotation segments.
 */
export function checkTrainingShape(
  shape: LlamaShape,
  sequences: number,
  segmentLength?: number,
): void {
  checkShape(shape);
  const { queries, qkv } = widths(shape);
  const features = {
    "`width`": shape.width,
    "`hidden`": shape.hidden,
    "`heads` · `headWidth`": queries,
    "(`heads` + 2 · `groups`) · `headWidth`": qkv,
  };
  checkTrainingSizes(features, shape, sequences, segmentLength);
}
