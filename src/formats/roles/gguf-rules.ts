/**
 * How llama.cpp uses a GGUF's tensors, by name: which must be floats, which its quantizer leaves unquantized, and
 * which belong to the vocabulary. Sources: ggml-org/llama.cpp src/llama-quant.cpp (`tensor_allows_quantization`),
 * src/llama-arch.cpp (the operation that uses each weight) and tools/mtmd/clip-impl.h.
 */
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { elementCount } from "../tensor.ts";

export type GgufRole = {
  /**
   * `floats`: added, multiplied elementwise, convolved or scanned; cannot be quantized.
   * `left`: a matrix that could be quantized, but is not by llama.cpp's quantizer.
   * `vocabulary`: the output head or a token table, with a separate type option.
   * `matrix`: used in matrix products, as a whole or by expert.
   */
  kind: "floats" | "left" | "vocabulary" | "matrix";
  reason: string;
};

type Rule = readonly [pattern: RegExp, kind: GgufRole["kind"], reason: string];

/** The first match decides. Names end in `.weight`, and may begin with `blk.0.` or similar. */
const RULES: readonly Rule[] = [
  [/^position_embd\./, "left", "positions"],
  [/norm|(^|[._])(ln|bn)\d?[._]|_ln\./, "floats", "a norm"],
  [
    /(^|[._])(position|pos)_embd|pos_embed|compressor_ape\./,
    "floats",
    "positions, which are added",
  ],
  [/^token_types\./, "floats", "token types, which are added"],
  [
    /attn_rel_b\.|\.rel_pos|\.pos_[hw]\./,
    "floats",
    "a relative bias, which is added to the attention",
  ],
  [/rope_(freqs|factors)/, "floats", "rotary frequencies"],
  [
    /(^|[._])conv_pw\d\./,
    "matrix",
    "a pointwise convolution, which is a product",
  ],
  [
    /conv\w*(\.\d+)?\.weight$|\.conv\d*\.|convnext\.\d+\.dw\./,
    "floats",
    "a convolution",
  ],
  [/sam\.(neck|net_)|\.patch_embd|\.peg\./, "floats", "a convolution"],
  [
    /time_mix_(lerp_\w+|first|decay|[wva]0|k_k|k_a|r_k)\.|channel_mix_lerp_\w+\./,
    "floats",
    "mixed in element by element",
  ],
  [
    /scale\.|gamma|(^|[._])ls\d\.|ffn\.acts?\./,
    "floats",
    "multiplied element by element",
  ],
  [/(^|[._])ssm_[ad]\./, "floats", "scanned with"],
  [/ffn_gate_tid2eid/, "floats", "a table of experts"],
  [
    /^mm\.(a\.)?input_projection\./,
    "floats",
    "a projection that is transposed as it is used",
  ],
  [/ffn_gate_inp/, "left", "a router, which chooses experts"],
  [/altup|laurel/, "left", "small, and sensitive"],
  [/per_layer_model_proj/, "left", "small"],
  [/time_mix_([wvag][12]|decay_w[12])\./, "left", "of low rank, and small"],
  [/indexer\.[kq]_proj\./, "left", "of an indexer, and small"],
  [/\.patch_merger/, "left", "a merger of patches"],
  [/a\.rvq\.codebook|mm\.a\.code_embd/, "left", "a codebook"],
  [/(^|\.)(output|shared_head_head)\.weight$/, "vocabulary", "the output head"],
  [
    /(^|\.)(per_layer_)?token_embd\.weight$|nextn\.embed_tokens/,
    "vocabulary",
    "the table of tokens",
  ],
];

const NOT_A_WEIGHT: GgufRole = { kind: "floats", reason: "not a weight" };

/** The role of a tensor by its name and dimensions (contiguous first). */
export function ggufRole(
  name: string,
  dimensions: readonly number[],
): GgufRole {
  const rank = dimensions.findLastIndex((size) => size > 1) + 1;
  if (rank < 2) return { kind: "floats", reason: "not a matrix" };
  if (!name.endsWith(".weight")) return NOT_A_WEIGHT;
  const rule = RULES.find(([pattern]) => pattern.test(name));
  if (rule) return { kind: rule[1], reason: rule[2] };
  if (rank > 3) return { kind: "floats", reason: "a convolution" };
  return {
    kind: "matrix",
    reason: rank === 3 ? "experts" : "a linear layer",
  };
}

/** Why no block type fits a tensor's rows; undefined if one does. GGUF cannot pad. */
export function whyNotInBlocks(
  dimensions: readonly number[],
): string | undefined {
  const k = dimensions[0] ?? 1;
  if (k === 0 || k % BLOCK_SIZE !== 0)
    return `rows that are not whole blocks of ${BLOCK_SIZE}, which GGUF cannot pad, but of ${k}`;
  return elementCount(dimensions) > 0 ? undefined : "without elements";
}
