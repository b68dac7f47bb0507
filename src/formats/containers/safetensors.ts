/**
 * The safetensors container: 8 bytes of header length (u64), a JSON header, then the tensors' bytes,
 * all little-endian. Here, whole files in memory.
 */
import { type Dtype, DTYPE_BITS } from "../dtype.ts";
import {
  LENGTH_BYTES,
  type Metadata,
  readHeader,
  readHeaderLength,
} from "./safetensors-reader.ts";
import { writeHead } from "./safetensors-writer.ts";
import { compareNames, type Tensor, type TensorHead } from "../tensor.ts";

export type SafetensorsFile = { tensors: Tensor[]; metadata: Metadata };

/** A tensor to write: its bytes come in chunks, so that it need never be in memory as a whole. */
export type TensorSource = TensorHead<Dtype> & { chunks: Iterable<Uint8Array> };

/**
 * The tensors of a file, in the order of their bytes, which they view.
 * Errors: `malformed_body`, `unsupported_dtype`, `body_too_large` for too many tensors
 */
export function readSafetensors(file: Uint8Array): SafetensorsFile {
  const headerBytes = readHeaderLength(file, file.length);
  const dataStart = LENGTH_BYTES + headerBytes;
  const data = file.subarray(dataStart);
  const { tensors, metadata } = readHeader(
    file.subarray(LENGTH_BYTES, dataStart),
    data.length,
  );
  return {
    metadata,
    tensors: tensors.map(({ name, dtype, shape, start, end }) => ({
      name,
      dtype,
      shape,
      bytes: data.subarray(start, end),
    })),
  };
}

/**
 * A file of these tensors: its size, and its bytes chunk by chunk. Wide dtypes come first, then
 * names in order, so every tensor is aligned and equal tensors are equal bytes.
 * Errors: `name_collision`
 */
export function writeSafetensors(
  tensors: readonly TensorSource[],
  metadata: Metadata,
): { bytes: number; chunks: Iterable<Uint8Array> } {
  const sorted = tensors.toSorted(
    (a, b) =>
      DTYPE_BITS[b.dtype] - DTYPE_BITS[a.dtype] || compareNames(a.name, b.name),
  );
  const { head, dataBytes } = writeHead(sorted, metadata);
  return { bytes: head.length + dataBytes, chunks: chunksOf(head, sorted) };
}

function* chunksOf(
  head: Uint8Array,
  tensors: readonly TensorSource[],
): Generator<Uint8Array> {
  yield head;
  for (const tensor of tensors) yield* tensor.chunks;
}
