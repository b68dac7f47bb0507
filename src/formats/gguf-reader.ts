/**
 * The head of a GGUF. Reading is strict, as in llama.cpp: tensors follow one another, each padded to
 * the alignment.
 */
import { AppError } from "../api/errors.ts";
import { GgufFields } from "./gguf-fields.ts";
import {
  DEFAULT_ALIGNMENT,
  type GgufTensor,
  MAGIC,
  paddingAfter,
  tensorBytes,
  TYPE_SIZES,
  VALUE_TYPE,
} from "./gguf-types.ts";
import { malformedFile } from "./malformed.ts";
import type { ByteSource } from "./source.ts";

const MAX_ALIGNMENT = 4096;
const MAX_DIMENSIONS = 4;

/** Bytes of a scalar value, by the value's type number. */
const SCALAR_BYTES: Record<number, number> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};

export type GgufHead = {
  /** Each key's encoding, by key, in order. */
  pairs: ReadonlyMap<string, Uint8Array>;
  /** Those that are strings, decoded. */
  strings: ReadonlyMap<string, string>;
  alignment: number;
  tensors: readonly GgufTensor[];
};

export function isGguf(first: Uint8Array): boolean {
  return (
    new DataView(first.buffer, first.byteOffset).getUint32(0, true) === MAGIC
  );
}

/**
 * Take a head, whose first 8 bytes were taken before. Errors: `malformed_body`, `unsupported_dtype`
 */
export async function readGgufHead(
  source: ByteSource,
  first: Uint8Array,
  fileBytes: number,
): Promise<{ gguf: GgufHead; headBytes: number }> {
  const version = new DataView(first.buffer, first.byteOffset).getUint32(
    4,
    true,
  );
  if (version !== 2 && version !== 3)
    throw malformed("version 2 or 3", `${version}`);
  const fields = new GgufFields(source, first.length, fileBytes);
  const tensorCount = await fields.count();
  const pairCount = await fields.count();

  const pairs = new Map<string, Uint8Array>();
  const strings = new Map<string, string>();
  let alignment = DEFAULT_ALIGNMENT;
  for (let i = 0; i < pairCount; i++) {
    fields.mark();
    const key = await fields.string();
    const type = await fields.uint32();
    if (type === VALUE_TYPE.STRING) strings.set(key, await fields.string());
    else if (type === VALUE_TYPE.ARRAY) await skipArray(fields);
    else if (key === "general.alignment" && type === VALUE_TYPE.UINT32)
      alignment = await fields.uint32();
    else await fields.skip(scalarBytes(type));
    if (pairs.has(key)) throw malformed("each key once", `"${key}" twice`);
    pairs.set(key, fields.marked());
  }
  const isPowerOfTwo = (alignment & (alignment - 1)) === 0;
  if (!isPowerOfTwo || alignment < 8 || alignment > MAX_ALIGNMENT) {
    throw malformed(
      `an alignment of 8 to ${MAX_ALIGNMENT}, a power of two`,
      `${alignment}`,
    );
  }

  const tensors: GgufTensor[] = [];
  const names = new Set<string>();
  let expected = 0;
  let end = 0;
  for (let i = 0; i < tensorCount; i++) {
    fields.mark();
    const tensor = await readTensor(fields);
    if (names.has(tensor.name))
      throw malformed("each tensor once", `"${tensor.name}" twice`);
    names.add(tensor.name);
    const offset = await fields.count(Number.MAX_SAFE_INTEGER);
    if (offset !== expected) {
      throw malformed(
        `tensor "${tensor.name}" at ${expected}, behind the one before`,
        `${offset}`,
      );
    }
    end = offset + tensorBytes(tensor);
    expected = end + paddingAfter(end, alignment);
    tensors.push(tensor);
  }
  const padding = paddingAfter(fields.position, alignment);
  const headBytes = Math.min(fields.position + padding, fileBytes);
  await fields.skip(headBytes - fields.position);
  const dataBytes = fileBytes - headBytes;
  if (dataBytes < end || dataBytes > expected) {
    throw malformed(`${end} to ${expected} bytes of data`, `${dataBytes}`);
  }
  return { gguf: { pairs, strings, alignment, tensors }, headBytes };
}

async function readTensor(fields: GgufFields): Promise<GgufTensor> {
  const name = await fields.string();
  const rank = await fields.uint32();
  if (rank < 1 || rank > MAX_DIMENSIONS) {
    throw malformed(
      `1 to ${MAX_DIMENSIONS} dimensions for tensor "${name}"`,
      `${rank}`,
    );
  }
  const dimensions: number[] = [];
  for (let i = 0; i < rank; i++)
    dimensions.push(await fields.count(Number.MAX_SAFE_INTEGER));
  const type = await fields.uint32();
  const size = TYPE_SIZES[type];
  if (!size) {
    throw new AppError(
      "unsupported_dtype",
      `Expected a GGUF tensor type of ${Object.keys(TYPE_SIZES).join(", ")}, got ${type} for "${name}"`,
    );
  }
  const elements = dimensions.reduce((count, each) => count * each, 1);
  if (dimensions[0]! % size[0] !== 0 || !Number.isSafeInteger(elements * 8)) {
    throw malformed(
      `rows of whole blocks of ${size[0]} in tensor "${name}"`,
      `[${dimensions.join(", ")}]`,
    );
  }
  return { name, dimensions, type };
}

async function skipArray(fields: GgufFields): Promise<void> {
  const type = await fields.uint32();
  const count = await fields.count();
  if (type !== VALUE_TYPE.STRING) return fields.skip(count * scalarBytes(type));
  for (let i = 0; i < count; i++) await fields.skip(await fields.count());
}

function scalarBytes(type: number): number {
  const bytes = SCALAR_BYTES[type];
  if (bytes === undefined) throw malformed("a known value type", `${type}`);
  return bytes;
}

function malformed(expected: string, got: string): AppError {
  return malformedFile("GGUF", expected, got);
}
