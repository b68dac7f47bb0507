/** GPT-2 for text generation, with a key-value cache. */
import type { ModelSizes } from "../../api/run-config.ts";
import type { Pointer } from "../../kernels/arena.ts";
import {
  addToRows,
  attend,
  geluTanh,
  layerNorm,
  sum,
} from "../../kernels/decode.ts";
import { kernels } from "../../kernels/runtime.ts";
import {
  checkToken,
  type Decoder,
  type DecoderWeights,
  type WeightTensor,
} from "../decoder.ts";
import type { KeyValueCache } from "../key-value-cache.ts";
import type { ParameterTensor } from "../parameters.ts";
import { widths } from "./config.ts";
import {
  type BlockTensors,
  gpt2Tensors,
  NOT_READ,
  PREFIX,
  TIED_HEAD,
  type TensorPair,
} from "./parameters.ts";

export function gpt2Decoder(shape: ModelSizes): Decoder {
  const { table, tokenEmbedding, positionEmbedding, blocks, finalNorm } =
    gpt2Tensors(shape);
  const { width: C, context, vocabulary, layers } = shape;
  return {
    context,
    vocabulary,
    layers,
    cacheWidth: C,
    tensors: table.tensors.map((tensor) => weightTensor(tensor)),
    prefix: PREFIX,
    notRead: NOT_READ,
    tiedHead: TIED_HEAD,
    fused: {},

    forward(weights, cache, tokens) {
      const { arena } = kernels();
      const N = tokens.length;
      return arena.scope(() => {
        const x = arena.allocF32(N * C);
        for (const [t, token] of tokens.entries()) {
          checkToken(token, vocabulary);
          const row = x + 4 * t * C;
          weights.row(row, tokenEmbedding.name, token);
          arena.scope(() => {
            const at = (cache.length + t) * C;
            sum(row, row, weights.values(positionEmbedding.name, at, C), C);
          });
        }
        for (const [layer, tensors] of blocks.entries())
          block(x, N, tensors, layer, shape, weights, cache);
        cache.length += N;
        const last = x + 4 * (N - 1) * C;
        norm(last, last, finalNorm, 1, C, weights);
        const logits = arena.allocF32(vocabulary);
        weights.multiply(logits, tokenEmbedding.name, last, 1);
        return arena.f32(logits, vocabulary).slice();
      });
    },
  };
}

function weightTensor({ name, shape, group }: ParameterTensor): WeightTensor {
  const isTable = name.endsWith("wte.weight");
  const kind = group === "matrix" ? "columns" : isTable ? "rows" : "values";
  return { name, shape, kind };
}

/** One block over the residual stream f32 [N, C], in place. */
function block(
  x: Pointer,
  N: number,
  tensors: BlockTensors,
  layer: number,
  shape: ModelSizes,
  weights: DecoderWeights,
  cache: KeyValueCache,
): void {
  const { width: C, heads } = shape;
  const { qkv: wide, hidden } = widths(shape);
  const { arena } = kernels();
  arena.scope(() => {
    const normed = arena.allocF32(N * C);
    const qkv = arena.allocF32(N * wide);
    norm(normed, x, tensors.norm1, N, C, weights);
    linear(qkv, tensors.qkv, normed, N, wide, weights);
    cache.append(layer, qkv + 4 * C, qkv + 8 * C, wide, N);
    const cut = { heads, groups: heads, headWidth: C / heads };
    attend(normed, qkv, wide, cache.layer(layer), cache.length, N, cut);
    const out = arena.allocF32(N * C);
    linear(out, tensors.attentionOut, normed, N, C, weights);
    sum(x, x, out, N * C);
    norm(normed, x, tensors.norm2, N, C, weights);
    const up = arena.allocF32(N * hidden);
    linear(up, tensors.up, normed, N, hidden, weights);
    geluTanh(up, up, N * hidden);
    linear(out, tensors.down, up, N, C, weights);
    sum(x, x, out, N * C);
  });
}

function norm(
  out: Pointer,
  x: Pointer,
  { weight, bias }: TensorPair,
  rows: number,
  width: number,
  weights: DecoderWeights,
): void {
  kernels().arena.scope(() =>
    layerNorm(
      out,
      x,
      weights.values(weight.name),
      weights.values(bias.name),
      rows,
      width,
    ),
  );
}

function linear(
  out: Pointer,
  { weight, bias }: TensorPair,
  x: Pointer,
  tokens: number,
  outFeatures: number,
  weights: DecoderWeights,
): void {
  weights.multiply(out, weight.name, x, tokens);
  kernels().arena.scope(() =>
    addToRows(out, weights.values(bias.name), tokens, outFeatures),
  );
}
