/** What the descriptions of tensor operations share: bodies, answers, refusals, and bodies that examples send. */
import { concatenate } from "../../formats/stream/bytes.ts";
import { writeHead } from "../../formats/containers/safetensors-writer.ts";
import type { Tensor } from "../../formats/tensor.ts";
import type { Answer } from "../declaration/route.ts";

export const ANY_FILE = {
  description:
    "safetensors, .npy (its tensor is `x`), GGUF, or raw little-endian values with `dtype` and `shape`; of any size. Content-Length is required",
};

export const TENSOR_ERRORS = [
  "length_required",
  "body_too_large",
  "shape_mismatch",
  "unsupported_dtype",
] as const;

export function fileAnswer(what: string): Answer {
  return {
    description: `${what}. Its length and header are known from the request's header; if the request body breaks off, so does the response`,
    type: "application/octet-stream",
    headers: {
      "Content-Length": "Bytes of the answer, known before the first",
    },
  };
}

/** −2 … 2, in steps that MXFP4 has and in others. */
const values = Float32Array.from({ length: 64 }, (_, i) => (i - 32) / 16);
export const exampleBytes = new Uint8Array(values.buffer);

/** Two tensors of which one is quantized by the example's patterns. */
export const exampleCheckpoint = safetensors(
  { name: "layer.weight", dtype: "F32", shape: [2, 32], bytes: exampleBytes },
  {
    name: "layer.bias",
    dtype: "F32",
    shape: [32],
    bytes: exampleBytes.slice(0, 128),
  },
);

/** What a gpt-oss file has: 0.5 · 1.0 in each of 32 elements. */
export const examplePair = safetensors(
  {
    name: "layer.weight_blocks",
    dtype: "U8",
    shape: [1, 16],
    bytes: new Uint8Array(16).fill(0x22),
  },
  {
    name: "layer.weight_scales",
    dtype: "U8",
    shape: [1],
    bytes: Uint8Array.of(126),
  },
);

/** Two of one row each. */
export const exampleOperands = safetensors(
  { name: "a", dtype: "F32", shape: [1, 64], bytes: exampleBytes },
  { name: "b", dtype: "F32", shape: [1, 64], bytes: exampleBytes },
);

function safetensors(...tensors: Tensor[]): Uint8Array {
  const { head, dataBytes } = writeHead(tensors, new Map());
  return concatenate(head.length + dataBytes, [
    head,
    ...tensors.map((tensor) => tensor.bytes),
  ]);
}
