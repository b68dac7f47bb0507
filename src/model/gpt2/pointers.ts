/** Where the tensors of a flat vector lie in memory: of the parameters, or of their gradient. */
import type { ModelShape } from "../../api/types.ts";
import type { Pointer } from "../../kernels/arena.ts";
import type { LayerNormParameters } from "../../kernels/layers.ts";
import { parameterTable, type ParameterTable } from "./parameters.ts";

export type TensorPair = { weight: Pointer; bias: Pointer };

export type BlockPointers = {
  norm1: LayerNormParameters; // [C], [C]
  qkv: TensorPair; // [C, 3C], [3C]
  attentionOut: TensorPair; // [C, C], [C]
  norm2: LayerNormParameters; // [C], [C]
  up: TensorPair; // [C, 4C], [4C]
  down: TensorPair; // [4C, C], [C]
};

export type ModelPointers = {
  tokenEmbedding: Pointer; // [V, C], also the output head
  positionEmbedding: Pointer; // [T, C]
  blocks: BlockPointers[];
  finalNorm: LayerNormParameters; // [C], [C]
};

/** The tensors of the flat vector at `base`, laid out as `table` says. */
export function modelPointers(
  shape: ModelShape,
  base: Pointer,
  table: ParameterTable = parameterTable(shape),
): ModelPointers {
  const offsets = new Map(
    table.tensors.map(({ name, offset }) => [name, offset]),
  );
  const tensor = (name: string): Pointer => {
    const offset = offsets.get(`transformer.${name}`);
    if (offset === undefined) throw new Error(`Expected a tensor \`${name}\``);
    return base + 4 * offset;
  };
  const pair = (name: string): TensorPair => ({
    weight: tensor(`${name}.weight`),
    bias: tensor(`${name}.bias`),
  });
  return {
    tokenEmbedding: tensor("wte.weight"),
    positionEmbedding: tensor("wpe.weight"),
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
