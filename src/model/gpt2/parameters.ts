/**
 * GPT-2's tensors, with Hugging Face names and layouts (linear weights are [in, out]), so a checkpoint is a straight
 * copy.
 */
import type { ModelSizes } from "../../api/run-config.ts";
import type { ModelTensors } from "../layers.ts";
import {
  layOut,
  type ParameterGroup,
  type ParameterTable,
  type ParameterTensor,
  tensorsByName,
  type TensorSpec,
} from "../parameters.ts";
import { checkShape, widths } from "./config.ts";

const DEVIATION = 0.02;
/** Prefix of names, except in files of the base model. */
export const PREFIX = "transformer.";
/** Ignored in files: the masks of older ones. */
export const NOT_READ = /(^|\.)attn\.(masked_)?bias$/;
export const TIED_HEAD = {
  head: "lm_head.weight",
  table: "transformer.wte.weight",
};

export type TensorPair = { weight: ParameterTensor; bias: ParameterTensor };

export type BlockTensors = {
  norm1: TensorPair; // [C], [C]
  qkv: TensorPair; // [C, 3C], [3C]
  attentionOut: TensorPair; // [C, C], [C]
  norm2: TensorPair; // [C], [C]
  up: TensorPair; // [C, 4C], [4C]
  down: TensorPair; // [4C, C], [C]
};

/** The offset of each tensor. */
export function parameterTable(shape: ModelSizes): ParameterTable {
  checkShape(shape);
  const { layers, width: C, context: T, vocabulary: V } = shape;
  const { qkv, hidden } = widths(shape);
  const specs: TensorSpec[] = [];

  const add = (
    group: ParameterGroup,
    name: string,
    tensorShape: number[],
    initial: TensorSpec["initial"],
    sideBySide = 1,
  ): void => {
    specs.push({
      name: PREFIX + name,
      group,
      shape: tensorShape,
      layout: "in-out",
      sideBySide,
      isJoined: false,
      initial,
    });
  };
  const layerNorm = (name: string): void => {
    add("vector", `${name}.weight`, [C], { value: 1 });
    add("vector", `${name}.bias`, [C], { value: 0 });
  };
  const linear = (
    name: string,
    inFeatures: number,
    outFeatures: number,
    deviation: number,
    sideBySide?: number,
  ): void => {
    const shape = [inFeatures, outFeatures];
    add("matrix", `${name}.weight`, shape, { deviation }, sideBySide);
    add("vector", `${name}.bias`, [outFeatures], { value: 0 });
  };
  // 2L projections add to the residual stream; GPT-2 keeps its variance independent of depth.
  const residualDeviation = DEVIATION / Math.sqrt(2 * layers);

  add("embedding", "wte.weight", [V, C], { deviation: DEVIATION });
  add("embedding", "wpe.weight", [T, C], { deviation: DEVIATION });
  for (let layer = 0; layer < layers; layer++) {
    layerNorm(`h.${layer}.ln_1`);
    linear(`h.${layer}.attn.c_attn`, C, qkv, DEVIATION, qkv / C);
    linear(`h.${layer}.attn.c_proj`, C, C, residualDeviation);
    layerNorm(`h.${layer}.ln_2`);
    linear(`h.${layer}.mlp.c_fc`, C, hidden, DEVIATION);
    linear(`h.${layer}.mlp.c_proj`, hidden, C, residualDeviation);
  }
  layerNorm("ln_f");
  return layOut(specs);
}

/** The table's tensors by their function. */
export function gpt2Tensors(
  shape: ModelSizes,
): Required<ModelTensors<BlockTensors>> {
  const table = parameterTable(shape);
  const byName = tensorsByName(table);
  const tensor = (name: string) => byName(PREFIX + name);
  const pair = (name: string): TensorPair => ({
    weight: tensor(`${name}.weight`),
    bias: tensor(`${name}.bias`),
  });
  const tokenEmbedding = tensor("wte.weight");
  return {
    table,
    tokenEmbedding,
    positionEmbedding: tensor("wpe.weight"),
    head: tokenEmbedding,
    blocks: Array.from({ length: shape.layers }, (_, layer) => ({
      norm1: pair(`h.${layer}.ln_1`),
      qkv: pair(`h.${layer}.attn.c_attn`),
      attentionOut: pair(`h.${layer}.attn.c_proj`),
      norm2: pair(`h.${layer}.ln_2`),
      up: pair(`h.${layer}.mlp.c_fc`),
      down: pair(`h.${layer}.mlp.c_proj`),
    })),
    finalNorm: pair("ln_f"),
  };
}
