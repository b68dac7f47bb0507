/**
 * The GGUF container, version 3 and 2: "GGUF", version u32, counts of tensors and key-values u64, the
 * key-values, the tensors' names, dimensions (the contiguous one first), types and offsets, and their
 * bytes at multiples of `general.alignment`. All little-endian.
 *
 * Reading is strict, as in llama.cpp: tensors follow one another, each padded to the alignment.
 */
import { AppError } from "../api/errors.ts";
import type { ByteSource } from "./source.ts";

/** Vocabularies are in the head, with all their tokens. */
const MAX_HEAD_BYTES = 32 * 1024 * 1024;
const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 4096;
const MAX_DIMENSIONS = 4;
const VERSION = 3;
const MAGIC = 0x46554747;

/** ggml's numbers of the tensor types that are more than bytes to us. */
export const GGML_TYPE = { F32: 0, F16: 1, BF16: 30, MXFP4: 39 } as const;

/** Elements of a block and their bytes, by ggml's type number. */
const TYPE_SIZES: Record<number, readonly [elements: number, bytes: number]> = {
  0: [1, 4],
  1: [1, 2],
  2: [32, 18],
  3: [32, 20],
  6: [32, 22],
  7: [32, 24],
  8: [32, 34],
  9: [32, 36],
  10: [256, 84],
  11: [256, 110],
  12: [256, 144],
  13: [256, 176],
  14: [256, 210],
  15: [256, 292],
  16: [256, 66],
  17: [256, 74],
  18: [256, 98],
  19: [256, 50],
  20: [32, 18],
  21: [256, 110],
  22: [256, 82],
  23: [256, 136],
  24: [1, 1],
  25: [1, 2],
  26: [1, 4],
  27: [1, 8],
  28: [1, 8],
  29: [256, 56],
  30: [1, 2],
  34: [256, 54],
  35: [256, 66],
  39: [32, 17],
};

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
const UINT32 = 4;
const FLOAT32 = 6;
const STRING = 8;
const ARRAY = 9;
const INT32 = 5;

export type GgufValue =
  | { uint32: number }
  | { float32: number }
  | { string: string }
  | { strings: readonly string[] }
  | { int32s: readonly number[] };

export type GgufTensor = {
  name: string;
  /** Contiguous first: the reverse of a shape. */
  dimensions: readonly number[];
  type: number;
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

export function tensorBytes({ type, dimensions }: GgufTensor): number {
  const [elements, bytes] = TYPE_SIZES[type]!;
  return (
    (dimensions.reduce((count, size) => count * size, 1) / elements) * bytes
  );
}

export function paddingAfter(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment - bytes;
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
  const fields = new FieldReader(source, first.length, fileBytes);
  const tensorCount = await fields.count();
  const pairCount = await fields.count();

  const pairs = new Map<string, Uint8Array>();
  const strings = new Map<string, string>();
  let alignment = DEFAULT_ALIGNMENT;
  for (let i = 0; i < pairCount; i++) {
    fields.mark();
    const key = await fields.string();
    const type = await fields.uint32();
    if (type === STRING) strings.set(key, await fields.string());
    else if (type === ARRAY) await skipArray(fields);
    else if (key === "general.alignment" && type === UINT32)
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

/** All that stands before the data of these tensors, which follow in this order. */
export function writeGgufHead(
  pairs: ReadonlyMap<string, Uint8Array>,
  tensors: readonly GgufTensor[],
  alignment = DEFAULT_ALIGNMENT,
): { head: Uint8Array<ArrayBuffer>; dataBytes: number } {
  const fields: Uint8Array[] = [
    words32(MAGIC, VERSION),
    word64(tensors.length),
    word64(pairs.size),
    ...pairs.values(),
  ];
  let offset = 0;
  for (const tensor of tensors) {
    const { name, dimensions, type } = tensor;
    fields.push(encodeString(name), words32(dimensions.length));
    fields.push(...dimensions.map(word64), words32(type), word64(offset));
    const bytes = tensorBytes(tensor);
    offset += bytes + paddingAfter(bytes, alignment);
  }
  const bytes = fields.reduce((sum, field) => sum + field.length, 0);
  const head = new Uint8Array(bytes + paddingAfter(bytes, alignment));
  join(fields, head);
  return { head, dataBytes: offset };
}

/** A key-value as it stands in a file. */
export function encodePair(
  key: string,
  value: GgufValue,
): Uint8Array<ArrayBuffer> {
  return join([encodeString(key), ...encodeValue(value)]);
}

function encodeValue(value: GgufValue): Uint8Array[] {
  if ("uint32" in value) return [words32(UINT32, value.uint32)];
  if ("string" in value) return [words32(STRING), encodeString(value.string)];
  if ("float32" in value) {
    const bits = new Uint32Array(Float32Array.of(value.float32).buffer)[0]!;
    return [words32(FLOAT32, bits)];
  }
  if ("strings" in value) {
    return [
      words32(ARRAY, STRING),
      word64(value.strings.length),
      ...value.strings.map(encodeString),
    ];
  }
  return [
    words32(ARRAY, INT32),
    word64(value.int32s.length),
    words32(...value.int32s),
  ];
}

async function readTensor(fields: FieldReader): Promise<GgufTensor> {
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

async function skipArray(fields: FieldReader): Promise<void> {
  const type = await fields.uint32();
  const count = await fields.count();
  if (type !== STRING) return fields.skip(count * scalarBytes(type));
  for (let i = 0; i < count; i++) await fields.skip(await fields.count());
}

function scalarBytes(type: number): number {
  const bytes = SCALAR_BYTES[type];
  if (bytes === undefined) throw malformed("a known value type", `${type}`);
  return bytes;
}

/** Takes a head field by field, since only its fields tell how long it is. */
class FieldReader {
  readonly #source: ByteSource;
  readonly #limit: number;
  position: number;
  #marked = new Uint8Array(1024);
  #markedBytes = 0;

  constructor(source: ByteSource, position: number, fileBytes: number) {
    this.#source = source;
    this.position = position;
    this.#limit = Math.min(fileBytes, MAX_HEAD_BYTES);
  }

  /** What is taken from here on is what `marked` returns. */
  mark(): void {
    this.#markedBytes = 0;
  }

  marked(): Uint8Array {
    return this.#marked.slice(0, this.#markedBytes);
  }

  async uint32(): Promise<number> {
    const bytes = await this.#take(4);
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  }

  /** A u64 that counts things of at least a byte, so that the limit bounds it; or up to `most`. */
  async count(most = this.#limit): Promise<number> {
    const bytes = await this.#take(8);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const count = Number(view.getBigUint64(0, true));
    if (count > most) throw malformed(`a count of at most ${most}`, `${count}`);
    return count;
  }

  async string(): Promise<string> {
    const bytes = await this.#take(await this.count());
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
        bytes,
      );
    } catch (cause) {
      throw new AppError(
        "malformed_body",
        `Expected GGUF with names in UTF-8, got ${bytes.length} bytes that are none`,
        { cause },
      );
    }
  }

  async skip(bytes: number): Promise<void> {
    await this.#take(bytes);
  }

  async #take(bytes: number): Promise<Uint8Array> {
    if (this.position + bytes > this.#limit) {
      throw malformed(
        `a head of at most ${this.#limit} bytes`,
        `a field that ends at ${this.position + bytes}`,
      );
    }
    const taken = await this.#source.take(bytes);
    this.position += bytes;
    const end = this.#markedBytes + bytes;
    if (end > this.#marked.length) {
      const larger = new Uint8Array(Math.max(end, 2 * this.#marked.length));
      larger.set(this.#marked.subarray(0, this.#markedBytes));
      this.#marked = larger;
    }
    this.#marked.set(taken, this.#markedBytes);
    this.#markedBytes = end;
    return taken;
  }
}

function encodeString(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(text);
  return join([word64(bytes.length), bytes]);
}

function words32(...words: number[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4 * words.length);
  const view = new DataView(bytes.buffer);
  words.forEach((word, i) => view.setUint32(4 * i, word, true));
  return bytes;
}

function word64(value: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

function join(
  parts: readonly Uint8Array[],
  into = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0)),
): Uint8Array<ArrayBuffer> {
  let position = 0;
  for (const part of parts) {
    into.set(part, position);
    position += part.length;
  }
  return into;
}

function malformed(expected: string, got: string): AppError {
  return new AppError(
    "malformed_body",
    `Expected GGUF with ${expected}, got ${got}`,
  );
}
