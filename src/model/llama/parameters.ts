/**
 * A Llama's tensors, with Hugging Face names and layouts (linear weights are [out, in]), so a checkpoint is a straight
 * copy. Tensors with the same input are adjacent: q, k and v, and gate and up, are multiplied as one matrix each, but
 * orthogonalized separately.
 */
import type { LlamaShape } from "../../api/run-config.ts";
import type { FusedLayers } from "../../checkpoints/fused-tensors.ts";
import type { TiedHead } from "../../checkpoints/model-tensors.ts";
import type { ModelTensors } from "../layers.ts";
import {
  joinedTensors,
  layOut,
  type ParameterGroup,
  type ParameterTable,
  type ParameterTensor,
  tensorsByName,
  type TensorSpec,
} from "../parameters.ts";
import { checkShape, widths } from "./config.ts";

const DEVIATION = 0.02;
/** Prefix of names, except the head's. */
export const PREFIX = "model.";

/** Ignored in files: the rotary frequencies of older ones. */
export const NOT_READ = /rotary_emb\.inv_freq$/;

export type BlockTensors = {
  norm1: ParameterTensor; // [C]
  qkv: ParameterTensor; // [(NH + 2 · groups) · D, C]
  /** [(NH + 2 · groups) · D], only with `qkvBias`. */
  qkvBias: ParameterTensor | undefined;
  /** [C], [2 · hidden] and [C], only with `outBias` and `mlpBias`. */
  attentionOutBias: ParameterTensor | undefined;
  gateUpBias: ParameterTensor | undefined;
  downBias: ParameterTensor | undefined;
  /** [D] each, only with `headNorm`. */
  headNorms: { q: ParameterTensor; k: ParameterTensor } | undefined;
  attentionOut: ParameterTensor; // [C, NH · D]
  norm2: ParameterTensor; // [C]
  gateUp: ParameterTensor; // [2 · hidden, C]
  down: ParameterTensor; // [C, hidden]
};

export const TABLE = "model.embed_tokens.weight";
export const HEAD = "lm_head.weight";
export const tiedHead = ({ tied }: LlamaShape): TiedHead | undefined =>
  tied ? { head: HEAD, table: TABLE } : undefined;
export const FINAL_NORM = "model.norm.weight";
/** Name of a tensor in a layer. */
export const inLayer = (layer: number, name: string): string =>
  `model.layers.${layer}.${name}.weight`;
export const biasInLayer = (layer: number, name: string): string =>
  `model.layers.${layer}.${name}.bias`;

const QKV = [
  "self_attn.q_proj",
  "self_attn.k_proj",
  "self_attn.v_proj",
] as const;
const OUT = "self_attn.o_proj";
const GATE_UP = ["mlp.gate_proj", "mlp.up_proj"] as const;
const DOWN = "mlp.down_proj";

/** Phi-3's names of the layers that it stores as one, in every layer of the model. */
export function fusedLayers(shape: LlamaShape): FusedLayers {
  const { queries, keys } = widths(shape);
  const [q, k, v] = QKV;
  const [gate, up] = GATE_UP;
  return {
    "self_attn.qkv_proj": [
      [q, queries],
      [k, keys],
      [v, keys],
    ],
    "mlp.gate_up_proj": [
      [gate, shape.hidden],
      [up, shape.hidden],
    ],
  };
}

/** Names of a block's linear layers that have biases. */
export function biased(shape: LlamaShape): ReadonlySet<string> {
  return new Set([
    ...(shape.qkvBias ? QKV : []),
    ...(shape.outBias ? [OUT] : []),
    ...(shape.mlpBias ? [...GATE_UP, DOWN] : []),
  ]);
}

/** The offset of each tensor. */
export function parameterTable(shape: LlamaShape): ParameterTable {
  checkShape(shape);
  const { layers, width: C, headWidth: D, hidden, vocabulary: V } = shape;
  const { queries, keys } = widths(shape);
  const specs: TensorSpec[] = [];
  const add = (
    group: ParameterGroup,
    name: string,
    tensorShape: number[],
    initial: TensorSpec["initial"],
    isJoined = false,
  ): void => {
    const layout = "out-in";
    const rest = { layout, sideBySide: 1, isJoined, initial } as const;
    specs.push({ name, group, shape: tensorShape, ...rest });
  };
  // As in GPT-2: what is added to the residual stream is scaled so that its variance does not grow with depth.
  const residual = { deviation: DEVIATION / Math.sqrt(2 * layers) };
  const plain = { deviation: DEVIATION };
  const hasBias = biased(shape);

  add("embedding", TABLE, [V, C], plain);
  if (!shape.tied) add("embedding", HEAD, [V, C], plain);
  for (let layer = 0; layer < layers; layer++) {
    const own = (name: string): string => inLayer(layer, name);
    const norm = (name: string, length: number): void =>
      add("vector", own(name), [length], { value: 1 });
    /** Linear layers with the same input; they are adjacent, and so are their biases. */
    const linear = (
      inFeatures: number,
      initial: TensorSpec["initial"],
      layers: readonly (readonly [name: string, outFeatures: number])[],
    ): void => {
      for (const [i, [name, out]] of layers.entries())
        add("matrix", own(name), [out, inFeatures], initial, i > 0);
      for (const [i, [name, out]] of layers.entries())
        if (hasBias.has(name))
          add("vector", biasInLayer(layer, name), [out], { value: 0 }, i > 0);
    };
    norm("input_layernorm", C);
    const [q, k, v] = QKV;
    linear(C, plain, [
      [q, queries],
      [k, keys],
      [v, keys],
    ]);
    if (shape.headNorm) {
      norm("self_attn.q_norm", D);
      norm("self_attn.k_norm", D);
    }
    linear(queries, residual, [[OUT, C]]);
    norm("post_attention_layernorm", C);
    const [gate, up] = GATE_UP;
    linear(C, plain, [
      [gate, hidden],
      [up, hidden],
    ]);
    linear(hidden, residual, [[DOWN, C]]);
  }
  add("vector", FINAL_NORM, [C], { value: 1 });
  return layOut(specs);
}

/** The table's tensors by their function. */
export function llamaTensors(shape: LlamaShape): ModelTensors<BlockTensors> {
  const { layers, tied, headNorm } = shape;
  const table = parameterTable(shape);
  const hasBias = biased(shape);
  const tensor = tensorsByName(table);
  const tokenEmbedding = tensor(TABLE);
  return {
    table,
    tokenEmbedding,
    head: tied ? tokenEmbedding : tensor(HEAD),
    blocks: Array.from({ length: layers }, (_, layer) => {
      const own = (name: string) => tensor(inLayer(layer, name));
      const asOne = (names: readonly string[]) => joinedTensors(names.map(own));
      const biasOf = (...names: string[]) =>
        hasBias.has(names[0]!)
          ? joinedTensors(names.map((name) => tensor(biasInLayer(layer, name))))
          : undefined;
      return {
        norm1: own("input_layernorm"),
        qkv: asOne(QKV),
        qkvBias: biasOf(...QKV),
        headNorms: headNorm
          ? { q: own("self_attn.q_norm"), k: own("self_attn.k_norm") }
          : undefined,
        attentionOut: own(OUT),
        attentionOutBias: biasOf(OUT),
        norm2: own("post_attention_layernorm"),
        gateUp: asOne(GATE_UP),
        gateUpBias: biasOf(...GATE_UP),
        down: own(DOWN),
        downBias: biasOf(DOWN),
      };
    }),
    finalNorm: tensor(FINAL_NORM),
  };
}
