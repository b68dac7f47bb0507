/**
 * Generation with Llama, Mistral, Qwen2 and Qwen3: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
 *
 *   middle = input + o(attention(rotary(q(n1)), rotary(k(n1)), v(n1))),  n1 = norm(input)
 *   output = middle + down(silu(gate(n2)) · up(n2)),                     n2 = norm(middle)
 */
import type { Pointer } from "../../kernels/arena.ts";
import type { Angles } from "../../kernels/attention.ts";
import {
  addToRows,
  rmsNorm,
  rotary,
  sum,
  swiglu,
} from "../../kernels/decode.ts";
import { kernels } from "../../kernels/runtime.ts";
import {
  checkToken,
  type Decoder,
  type DecoderWeights,
  type WeightTensor,
} from "../decoder.ts";
import type { LlamaShape } from "../../api/run-config.ts";
import type { KeyValueCache } from "../key-value-cache.ts";
import type { ParameterTensor } from "../parameters.ts";
import { widths } from "./config.ts";
import { fusedIn, shapeOf } from "./hugging-face.ts";
import {
  biased,
  biasInLayer,
  FINAL_NORM,
  HEAD,
  inLayer,
  NOT_READ,
  parameterTable,
  PREFIX,
  TABLE,
  tiedHead,
} from "./parameters.ts";
import { attendWithin, windowsOf } from "./windows.ts";
import { rotaryWidthOf } from "./rope-config.ts";
import type { Turns } from "./rope-scaling.ts";
import { rotaryAngles, turnsOf } from "./rotary-angles.ts";

/** Errors: `invalid_config` for an unsupported model */
export function llamaDecoder(
  config: Readonly<Record<string, unknown>>,
): Decoder {
  const shape = shapeOf(config);
  const { width: C, context, vocabulary, layers } = shape;
  const rotaryWidth = rotaryWidthOf(config, shape.headWidth);
  const turns = turnsOf({ ...shape, headWidth: rotaryWidth });
  const windows = windowsOf(config, layers);
  return {
    context,
    vocabulary,
    layers,
    cacheWidth: widths(shape).keys,
    tensors: parameterTable(shape).tensors.map((tensor) =>
      weightTensor(tensor),
    ),
    prefix: PREFIX,
    notRead: NOT_READ,
    tiedHead: tiedHead(shape),
    fused: fusedIn(config),

    forward(weights, cache, tokens) {
      const { arena } = kernels();
      const N = tokens.length;
      return arena.scope(() => {
        const x = arena.allocF32(N * C);
        for (const [t, token] of tokens.entries()) {
          checkToken(token, vocabulary);
          weights.row(x + 4 * t * C, TABLE, token);
        }
        for (let layer = 0; layer < layers; layer++)
          block(
            x,
            N,
            layer,
            { shape, turns, window: windows[layer]! },
            weights,
            cache,
          );
        cache.length += N;
        const last = x + 4 * (N - 1) * C;
        rmsNorm(last, last, weights.values(FINAL_NORM), 1, C, shape.epsilon);
        const logits = arena.allocF32(vocabulary);
        weights.multiply(logits, shape.tied ? TABLE : HEAD, last, 1);
        return arena.f32(logits, vocabulary).slice();
      });
    },
  };
}

/** One block on the residual stream f32 [N, C], in place. */
function block(
  x: Pointer,
  N: number,
  layer: number,
  { shape, turns, window }: { shape: LlamaShape; turns: Turns; window: number },
  weights: DecoderWeights,
  cache: KeyValueCache,
): void {
  const { width: C, heads, groups, headWidth, hidden, epsilon } = shape;
  const { arena } = kernels();
  const own = (name: string): string => inLayer(layer, name);
  const hasBias = biased(shape);
  arena.scope(() => {
    const linear = (name: string, from: Pointer, outFeatures: number) => {
      const out = arena.allocF32(N * outFeatures);
      weights.multiply(out, own(name), from, N);
      if (hasBias.has(name)) {
        const bias = weights.values(biasInLayer(layer, name));
        addToRows(out, bias, N, outFeatures);
      }
      return out;
    };
    const norm1 = weights.values(own("input_layernorm"));
    const normed = arena.allocF32(N * C);
    rmsNorm(normed, x, norm1, N, C, epsilon);
    const q = linear("self_attn.q_proj", normed, heads * headWidth);
    const k = linear("self_attn.k_proj", normed, groups * headWidth);
    const v = linear("self_attn.v_proj", normed, groups * headWidth);
    const half = turns.perToken.length;
    const angles = { ...rotaryAngles(turns, cache.length, N), half };
    for (const [name, at, count] of [
      ["q", q, heads],
      ["k", k, groups],
    ] as const) {
      if (shape.headNorm) {
        const weight = weights.values(own(`self_attn.${name}_norm`));
        rmsNorm(at, at, weight, N * count, headWidth, epsilon);
      }
      turnHeads(at, angles, N, count, headWidth);
    }
    cache.append(layer, k, v, groups * headWidth, N);
    const mixed = arena.allocF32(N * heads * headWidth);
    const cut = { heads, groups, headWidth };
    const past = cache.layer(layer);
    attendWithin(window, mixed, q, past, cache.length, N, cut);
    sum(x, x, linear("self_attn.o_proj", mixed, C), N * C);

    const norm2 = weights.values(own("post_attention_layernorm"));
    rmsNorm(normed, x, norm2, N, C, epsilon);
    const gate = linear("mlp.gate_proj", normed, hidden);
    const up = linear("mlp.up_proj", normed, hidden);
    swiglu(gate, gate, up, N * hidden);
    sum(x, x, linear("mlp.down_proj", gate, C), N * C);
  });
}

/**
 * The first channels of each head turn, twice as many as there are angles; the others stay. x f32 [tokens, heads,
 * headWidth].
 */
function turnHeads(
  x: Pointer,
  angles: Angles & { half: number },
  tokens: number,
  heads: number,
  headWidth: number,
): void {
  const turning = 2 * angles.half;
  const stride = heads * headWidth;
  if (turning === headWidth)
    return rotary(x, angles, tokens, heads, headWidth, stride);
  for (let head = 0; head < heads; head++)
    rotary(x + 4 * head * headWidth, angles, tokens, 1, turning, stride);
}

/** Matrices are stored [out, in]. */
function weightTensor({ name, shape, group }: ParameterTensor): WeightTensor {
  return { name, shape, kind: group === "vector" ? "values" : "rows" };
}
