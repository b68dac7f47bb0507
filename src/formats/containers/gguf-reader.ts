/** Reads the header of a GGUF. Strict, like llama.cpp: tensors follow one another, each padded to the alignment. */
import { AppError } from "../../api/errors.ts";
import { GgufFields } from "./gguf-fields.ts";
import { readPairs } from "./gguf-pairs.ts";
import {
  type GgufTensor,
  MAGIC,
  paddingAfter,
  TENSOR_TYPES,
  ggufTensorBytes,
} from "./gguf-types.ts";
import { malformedFile, quoted } from "./malformed.ts";
import type { ByteSource } from "../stream/source.ts";
import { elementCount } from "../tensor.ts";

const malformed = malformedFile("GGUF");

/** The magic written in big-endian order: "FUGG". */
const SWAPPED_MAGIC = 0x47475546;
const MAX_DIMENSIONS = 4;
/** Limit of tensors, and of key-values, so that they fit in an isolate's memory. */
const MAX_ENTRIES = 16_384;
/** The shortest entries: two lengths, a type, and an offset or a byte of value. */
const LEAST_TENSOR_BYTES = 24;
const LEAST_PAIR_BYTES = 13;

export type GgufHead = {
  /** The encoded entries by key, in order. */
  pairs: ReadonlyMap<string, Uint8Array>;
  alignment: number;
  tensors: readonly GgufTensor[];
};

/** Options for reading a possibly long header. */
export type HeadReading = {
  /** Awaited before more than 1 MiB of it is read, with its maximum size. */
  beforeLongHead?: ((most: number) => Promise<void>) | undefined;
  /** Which key-values are kept; all are read. */
  keeps?: (key: string) => boolean;
};

/** Whether these 8 bytes begin a GGUF, in either byte order. */
export function isGguf(first: Uint8Array): boolean {
  const magic = new DataView(first.buffer, first.byteOffset).getUint32(0, true);
  return magic === MAGIC || magic === SWAPPED_MAGIC;
}

/**
 * Reads a header after its first 8 bytes. Errors: `malformed_body`; `unsupported_dtype` for an unknown tensor type;
 * `body_too_large` for more tensors or key-values than an isolate can hold
 */
export async function readGgufHead(
  source: ByteSource,
  first: Uint8Array,
  fileBytes: number,
  { beforeLongHead, keeps = () => true }: HeadReading = {},
): Promise<{ gguf: GgufHead; headBytes: number }> {
  checkVersion(new DataView(first.buffer, first.byteOffset));
  const fields = new GgufFields(
    source,
    first.length,
    fileBytes,
    beforeLongHead,
  );
  const tensorCount = await fields.count("tensors", LEAST_TENSOR_BYTES);
  const pairCount = await fields.count("key-values", LEAST_PAIR_BYTES);
  checkEntries("tensors", tensorCount);
  checkEntries("key-values", pairCount);

  const { pairs, alignment } = await readPairs(fields, pairCount, keeps);
  const tensors: GgufTensor[] = [];
  const names = new Set<string>();
  let expected = 0;
  let end = 0;
  for (let i = 0; i < tensorCount; i++) {
    const tensor = await readTensor(fields);
    const name = quoted(tensor.name);
    if (names.has(tensor.name))
      throw malformed("each tensor once", `${name} twice`);
    names.add(tensor.name);
    const offset = await fields.uint64();
    if (offset !== BigInt(expected)) {
      throw malformed(
        `tensor ${name} at ${expected}, behind the one before`,
        `${offset}`,
      );
    }
    end = expected + ggufTensorBytes(tensor);
    if (end > fileBytes) {
      throw malformed(
        `tensor ${name} to end within the file's ${fileBytes} bytes`,
        `${end}`,
      );
    }
    expected = end + paddingAfter(end, alignment);
    tensors.push(tensor);
  }
  const padding = paddingAfter(fields.position, alignment);
  await fields.skip(Math.min(padding, fileBytes - fields.position));
  const headBytes = fields.position;
  const dataBytes = fileBytes - headBytes;
  const behind = dataBytes - expected;
  if (behind > 0) {
    throw malformed(
      `${end} to ${expected} bytes of data`,
      `${dataBytes}, of which ${behind} are behind the last tensor and its padding`,
    );
  }
  if (dataBytes < end) {
    throw malformed(`${end} to ${expected} bytes of data`, `${dataBytes}`);
  }
  return { gguf: { pairs, alignment, tensors }, headBytes };
}

function checkVersion(first: DataView): void {
  const version = first.getUint32(4, true);
  if (first.getUint32(0, true) === SWAPPED_MAGIC || (version & 0xffff) === 0) {
    const swapped = first.getUint32(4, false);
    throw malformed(
      "little-endian numbers",
      `version ${swapped} in big-endian order`,
    );
  }
  if (version !== 2 && version !== 3)
    throw malformed("version 2 or 3", `${version}`);
}

function checkEntries(what: string, count: number): void {
  if (count <= MAX_ENTRIES) return;
  throw new AppError(
    "body_too_large",
    `Expected at most ${MAX_ENTRIES} ${what} in one file, got ${count}; split it`,
  );
}

async function readTensor(fields: GgufFields): Promise<GgufTensor> {
  const name = await fields.name();
  const rank = await fields.uint32();
  if (rank > MAX_DIMENSIONS) {
    throw malformed(
      `at most ${MAX_DIMENSIONS} dimensions for tensor ${quoted(name)}`,
      `${rank}`,
    );
  }
  const dimensions: number[] = [];
  for (let i = 0; i < rank; i++) dimensions.push(Number(await fields.uint64()));
  const type = await fields.uint32();
  const known = TENSOR_TYPES[type];
  if (!known) {
    throw new AppError(
      "unsupported_dtype",
      `Expected a GGUF tensor type of ${Object.keys(TENSOR_TYPES).join(", ")}, got ${type} for ${quoted(name)}`,
    );
  }
  const [, blockElements] = known;
  const sizes = [...dimensions, elementCount(dimensions) * 8];
  if (!sizes.every(Number.isSafeInteger)) {
    throw malformed(
      `tensor ${quoted(name)} to have fewer than 2^50 elements`,
      `[${dimensions.join(", ")}]`,
    );
  }
  if ((dimensions[0] ?? 1) % blockElements !== 0) {
    throw malformed(
      `rows of whole blocks of ${blockElements} in tensor ${quoted(name)}`,
      `[${dimensions.join(", ")}]`,
    );
  }
  return { name, dimensions, type };
}
