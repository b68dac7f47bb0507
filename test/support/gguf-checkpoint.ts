/**
 * A GPT-2 checkpoint as GGUF, as llama.cpp's own converter maps it: linear weights [in, out] become rows
 * of `out`, the tied head is the token embedding, and the vocabulary is the bytes.
 */
import type { ModelShape } from "../../src/api/run-config.ts";
import {
  GGML_TYPE,
  type GgufTensor,
} from "../../src/formats/containers/gguf-types.ts";
import {
  encodePair,
  type GgufValue,
} from "../../src/formats/containers/gguf-writer.ts";
import type { ParameterTensor } from "../../src/model/parameters.ts";
import { widths } from "../../src/model/gpt2/config.ts";
import { parameterTable } from "../../src/model/gpt2/parameters.ts";

/** As the kernels' LayerNorm has it. */
const EPSILON = 1e-5;

export type GgufParameter = {
  /** f32, its name and dimensions in the file. */
  tensor: GgufTensor;
  /** Where its values lie in the flat vector. */
  parameter: ParameterTensor;
  /** Whether the file has its columns as rows. */
  transposed: boolean;
};

/** The file's key-values, and its tensors in order. */
export function gpt2Gguf(shape: ModelShape): {
  pairs: Map<string, Uint8Array>;
  parameters: GgufParameter[];
} {
  const parameters = parameterTable(shape).tensors.map((parameter) => {
    const transposed = /\.c_(attn|proj|fc)\.weight$/.test(parameter.name);
    const rowsFirst = transposed
      ? parameter.shape.toReversed()
      : parameter.shape;
    const tensor = {
      name: ggufName(parameter.name),
      dimensions: rowsFirst.toReversed(),
      type: GGML_TYPE.F32,
    };
    return { tensor, parameter, transposed };
  });
  return { pairs: encodePairs(metadata(shape)), parameters };
}

/** The values of one tensor as its file has them, of the flat vector `parameters`. */
export function ggufValues(
  { parameter, transposed }: GgufParameter,
  parameters: Float32Array,
): Float32Array<ArrayBuffer> {
  const { offset, length, shape } = parameter;
  const source = parameters.subarray(offset, offset + length);
  const out = new Float32Array(length);
  if (!transposed) {
    out.set(source);
    return out;
  }
  const [rows, columns] = shape;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++)
      out[column * rows + row] = source[row * columns + column];
  }
  return out;
}

function ggufName(name: string): string {
  const [, layer, rest] = /^transformer\.(?:h\.(\d+)\.)?(.*)$/.exec(name)!;
  const names: Record<string, string> = {
    wte: "token_embd",
    wpe: "position_embd",
    ln_f: "output_norm",
    ln_1: "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    ln_2: "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
  };
  const dot = rest.lastIndexOf(".");
  const own = names[rest.slice(0, dot)] + rest.slice(dot);
  return layer === undefined ? own : `blk.${layer}.${own}`;
}

function metadata(shape: ModelShape): Record<string, GgufValue> {
  const { layers, width, heads, context, vocabulary } = shape;
  const tokens = byteTokens(vocabulary);
  return {
    "general.architecture": { string: "gpt2" },
    "general.name": { string: "mxfp4-edge" },
    "general.file_type": { uint32: 0 },
    "gpt2.block_count": { uint32: layers },
    "gpt2.context_length": { uint32: context },
    "gpt2.embedding_length": { uint32: width },
    "gpt2.feed_forward_length": { uint32: widths(shape).hidden },
    "gpt2.attention.head_count": { uint32: heads },
    "gpt2.attention.layer_norm_epsilon": { float32: EPSILON },
    "tokenizer.ggml.model": { string: "gpt2" },
    "tokenizer.ggml.pre": { string: "gpt-2" },
    "tokenizer.ggml.tokens": { strings: tokens },
    "tokenizer.ggml.token_type": { int32s: tokens.map(() => 1) },
    // llama.cpp wants at least one; this one is never reached, as its parts are no neighbours.
    "tokenizer.ggml.merges": { strings: [`${tokens[0]} ${tokens[0]}`] },
    "tokenizer.ggml.bos_token_id": { uint32: 0 },
    "tokenizer.ggml.eos_token_id": { uint32: 0 },
  };
}

/** GPT-2's printable stand-in for each byte; tokens past the bytes have names of their own. */
function byteTokens(vocabulary: number): string[] {
  let next = 256;
  return Array.from({ length: vocabulary }, (_, id) => {
    if (id > 255) return `<${id}>`;
    const printable =
      (id >= 33 && id <= 126) || (id >= 161 && id <= 172) || id >= 174;
    return String.fromCharCode(printable ? id : next++);
  });
}

function encodePairs(
  values: Record<string, GgufValue>,
): Map<string, Uint8Array> {
  return new Map(
    Object.entries(values).map(([key, value]) => [key, encodePair(key, value)]),
  );
}
