/** Shared by the descriptions of tensor operations: bodies, answers, errors, and example bodies. */
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

/** −2 … 2; some are exact in MXFP4, others not. */
const values = Float32Array.from({ length: 64 }, (_, i) => (i - 32) / 16);
export const exampleBytes = new Uint8Array(values.buffer);

/** Two tensors, of which the examples' patterns select one. */
export const exampleCheckpoint = safetensors(
  { name: "layer.weight", dtype: "F32", shape: [2, 32], bytes: exampleBytes },
  {
    name: "layer.bias",
    dtype: "F32",
    shape: [32],
    bytes: exampleBytes.slice(0, 128),
  },
);

/** As in a gpt-oss file: 32 elements 1.0 with scale 0.5. */
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

/** Two operands of one row each. */
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
