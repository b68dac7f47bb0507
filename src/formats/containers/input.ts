/** The head of a file, whatever the container: told by its first bytes. */
import { AppError } from "../../api/errors.ts";
import { dtypeBytes, type FloatDtype } from "../dtype.ts";
import { type GgufHead, isGguf, readGgufHead } from "./gguf-reader.ts";
import { isNpy, readNpyHead } from "./npy.ts";
import {
  LENGTH_BYTES,
  type Metadata,
  readHeader,
  readHeaderLength,
} from "./safetensors-reader.ts";
import type { ByteSource } from "../stream/source.ts";
import { elementCount, type TensorHead, type TensorRange } from "../tensor.ts";

/** What a raw body holds, which it does not say itself. */
export type RawHead = { dtype: FloatDtype; shape: readonly number[] };

/** Tensors without gaps, in the order of their bytes. */
export type TensorInput = {
  container: "safetensors" | "npy" | "raw";
  /** Bytes before the data, which have been taken. */
  headBytes: number;
  tensors: readonly TensorRange[];
  metadata: Metadata;
};

export type GgufInput = {
  container: "gguf";
  headBytes: number;
  dataBytes: number;
  gguf: GgufHead;
};

export type Input = TensorInput | GgufInput;

/**
 * Take the head of a file of `fileBytes`; what `source` gives next is its data. A raw body's one
 * tensor, and a .npy's, is called `x`. `beforeHead` is awaited before a JSON header, or more than a
 * MiB of a GGUF's, is taken, with the most bytes that it may have.
 * Errors: `malformed_body`, `unsupported_dtype`, `shape_mismatch`, `body_too_large` for too many tensors
 */
export async function readInput(
  source: ByteSource,
  fileBytes: number,
  raw?: RawHead,
  beforeHead?: (headerBytes: number) => Promise<void>,
): Promise<Input> {
  if (raw) return rawInput(raw, fileBytes);
  if (fileBytes < LENGTH_BYTES) readHeaderLength(new Uint8Array(0), fileBytes);
  const first = (await source.take(LENGTH_BYTES)).slice();
  if (isGguf(first)) {
    const { gguf, headBytes } = await readGgufHead(
      source,
      first,
      fileBytes,
      beforeHead,
    );
    const dataBytes = fileBytes - headBytes;
    return { container: "gguf", headBytes, dataBytes, gguf };
  }
  if (isNpy(first)) {
    const { tensor, headBytes } = await readNpyHead(source, first, fileBytes);
    return oneTensor("npy", tensor, headBytes);
  }
  const headerBytes = readHeaderLength(first, fileBytes);
  const headBytes = LENGTH_BYTES + headerBytes;
  await beforeHead?.(headerBytes);
  const json = await source.take(headerBytes);
  const { tensors, metadata } = readHeader(json, fileBytes - headBytes);
  return { container: "safetensors", headBytes, tensors, metadata };
}

function rawInput({ dtype, shape }: RawHead, fileBytes: number): TensorInput {
  const expected = dtypeBytes(dtype, elementCount(shape));
  if (fileBytes !== expected) {
    throw new AppError(
      "shape_mismatch",
      `Expected ${expected} bytes for ${dtype} [${shape.join(", ")}], got ${fileBytes}`,
    );
  }
  return oneTensor("raw", { name: "x", dtype, shape }, 0);
}

function oneTensor(
  container: "npy" | "raw",
  tensor: TensorHead,
  headBytes: number,
): TensorInput {
  const end = dtypeBytes(tensor.dtype, elementCount(tensor.shape));
  return {
    container,
    headBytes,
    tensors: [{ ...tensor, start: 0, end }],
    metadata: new Map(),
  };
}

/** Errors: `unsupported_media_type` for GGUF, which only some conversions take */
export function tensorsOnly(input: Input): TensorInput {
  if (input.container !== "gguf") return input;
  throw new AppError(
    "unsupported_media_type",
    "Expected safetensors, .npy or raw values here, got GGUF",
  );
}
