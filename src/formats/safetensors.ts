/**
 * The safetensors container: 8 bytes of header length (u64), a JSON header, then the tensors' bytes,
 * all little-endian.
 *
 * Reading is strict, as in the reference implementation (huggingface/safetensors): the tensors fill
 * the data without gaps or overlaps, and no name appears twice.
 */
import { AppError } from "../api/errors.ts";
import { type Dtype, DTYPE_BITS, dtypeBytes, isDtype } from "./dtype.ts";

const MAX_HEADER_BYTES = 8 * 1024 * 1024;
/** Of one file: what the header becomes in memory must leave room in an isolate. */
const MAX_TENSORS = 16_384;
export const LENGTH_BYTES = 8;
/** The data starts at a multiple of it, so that views of the tensors are aligned. */
const ALIGNMENT = 8;
const METADATA = "__metadata__";

export type TensorHead = {
  name: string;
  dtype: Dtype;
  shape: readonly number[];
};

/** A tensor that is in memory: its little-endian bytes, C order. */
export type Tensor = TensorHead & { bytes: Uint8Array };

/** A tensor to write: its bytes come in chunks, so that it need never be in memory as a whole. */
export type TensorSource = TensorHead & { chunks: Iterable<Uint8Array> };

export type Metadata = ReadonlyMap<string, string>;

export type SafetensorsFile = { tensors: Tensor[]; metadata: Metadata };

/** How many elements a tensor of this shape has; 1 for a 0-D one. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1);
}

/** Code-unit order: the same everywhere, unlike a locale's. */
export function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Where a tensor lies in the data. */
export type TensorRange = TensorHead & { start: number; end: number };

export type SafetensorsHead = {
  /** In the order of their bytes. */
  tensors: TensorRange[];
  metadata: Metadata;
};

/**
 * The tensors of a file, in the order of their bytes, which they view.
 * Errors: `malformed_body`, `unsupported_dtype`, `body_too_large` for more tensors than `MAX_TENSORS`
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

/** How long the JSON header of a file of `fileBytes` is, by its first 8 bytes. */
export function readHeaderLength(first: Uint8Array, fileBytes: number): number {
  if (fileBytes < LENGTH_BYTES) {
    throw malformed(`at least ${LENGTH_BYTES} bytes`, `${fileBytes}`);
  }
  const view = new DataView(first.buffer, first.byteOffset, first.length);
  const headerBytes = Number(view.getBigUint64(0, true));
  const limit = Math.min(MAX_HEADER_BYTES, fileBytes - LENGTH_BYTES);
  if (headerBytes > limit) {
    throw malformed(
      `a header of at most ${limit} bytes`,
      `a header length of ${headerBytes}`,
    );
  }
  return headerBytes;
}

/** What the JSON header says, checked against the bytes of data that follow it. */
export function readHeader(
  json: Uint8Array,
  dataBytes: number,
): SafetensorsHead {
  let metadata: Metadata = new Map();
  const tensors: TensorRange[] = [];
  for (const [name, entry] of Object.entries(parseHeader(json))) {
    if (name === METADATA) metadata = readMetadata(entry);
    else tensors.push(readEntry(name, entry, dataBytes));
  }

  tensors.sort((a, b) => a.start - b.start || a.end - b.end);
  let position = 0;
  for (const { name, start, end } of tensors) {
    if (start !== position) {
      throw malformed(
        `tensor "${name}" to start where the one before ends, at ${position}`,
        `${start}`,
      );
    }
    position = end;
  }
  if (position !== dataBytes) {
    throw malformed(
      `tensors that fill all ${dataBytes} bytes of data`,
      `${position} bytes`,
    );
  }
  return { tensors, metadata };
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

/**
 * All that stands before the data of these tensors, which follow in this order.
 * Errors: `name_collision`
 */
export function writeHead(
  tensors: readonly TensorHead[],
  metadata: Metadata,
): { head: Uint8Array<ArrayBuffer>; dataBytes: number } {
  checkNames(tensors);
  const entries: string[] = [];
  if (metadata.size > 0) {
    const pairs = [...metadata].sort(([a], [b]) => compareNames(a, b));
    entries.push(member(METADATA, Object.fromEntries(pairs)));
  }
  let position = 0;
  for (const { name, dtype, shape } of tensors) {
    const end = position + dtypeBytes(dtype, elementCount(shape));
    entries.push(member(name, { dtype, shape, data_offsets: [position, end] }));
    position = end;
  }
  const json = new TextEncoder().encode(`{${entries.join(",")}}`);
  const headerBytes = Math.ceil(json.length / ALIGNMENT) * ALIGNMENT;
  const head = new Uint8Array(LENGTH_BYTES + headerBytes).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(headerBytes), true);
  head.set(json, LENGTH_BYTES);
  return { head, dataBytes: position };
}

/** All chunks in one buffer of `bytes`. */
export function concatenate(
  bytes: number,
  chunks: Iterable<Uint8Array>,
): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(bytes);
  let position = 0;
  for (const chunk of chunks) {
    whole.set(chunk, position);
    position += chunk.length;
  }
  return whole;
}

function* chunksOf(
  head: Uint8Array,
  tensors: readonly TensorSource[],
): Generator<Uint8Array> {
  yield head;
  for (const tensor of tensors) yield* tensor.chunks;
}

function checkNames(tensors: readonly TensorHead[]): void {
  const names = new Set([METADATA]);
  for (const { name } of tensors) {
    if (names.has(name)) {
      throw new AppError(
        "name_collision",
        `Expected names that differ in the output, got "${name}" twice`,
      );
    }
    names.add(name);
  }
}

/** One `"name": value` of a JSON object, whose members keep the order in which they are written. */
function member(name: string, value: object): string {
  return `${JSON.stringify(name)}:${JSON.stringify(value)}`;
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      bytes,
    );
    checkTensorCount(text);
    header = JSON.parse(text);
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError(
      "malformed_body",
      `Expected a safetensors header of JSON in UTF-8, got ${bytes.length} bytes that are none`,
      { cause },
    );
  }
  if (!isObject(header))
    throw malformed("a header that is a JSON object", shown(header));
  const duplicate = duplicateMember(text);
  if (duplicate !== undefined) {
    throw malformed("each name once in the header", `${duplicate} twice`);
  }
  return header;
}

/** Before it is parsed, which is what takes the memory: by a member that each tensor has. */
function checkTensorCount(text: string): void {
  const member = '"data_offsets"';
  let count = 0;
  for (
    let at = text.indexOf(member);
    at >= 0;
    at = text.indexOf(member, at + member.length)
  ) {
    if (++count > MAX_TENSORS) {
      throw new AppError(
        "body_too_large",
        `Expected at most ${MAX_TENSORS} tensors in one file, got more; split it`,
      );
    }
  }
}

function readMetadata(entry: unknown): Metadata {
  if (!isObject(entry))
    throw malformed(`${METADATA} to be an object`, shown(entry));
  const metadata = new Map<string, string>();
  for (const [key, value] of Object.entries(entry)) {
    if (typeof value !== "string") {
      throw malformed(`${METADATA} "${key}" to be a string`, shown(value));
    }
    metadata.set(key, value);
  }
  return metadata;
}

function readEntry(
  name: string,
  entry: unknown,
  dataBytes: number,
): TensorRange {
  if (!isObject(entry))
    throw malformed(`tensor "${name}" to be an object`, shown(entry));
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isDtype(dtype)) {
    throw new AppError(
      "unsupported_dtype",
      `Expected tensor "${name}" to have a dtype of ${Object.keys(DTYPE_BITS).join(", ")}, got ${shown(dtype)}`,
    );
  }
  if (!isCounts(shape) || !Number.isSafeInteger(elementCount(shape))) {
    throw malformed(
      `the shape of tensor "${name}" to be a list of sizes`,
      shown(shape),
    );
  }
  if (!isCounts(offsets) || offsets.length !== 2) {
    throw malformed(
      `the data_offsets of tensor "${name}" to be two positions`,
      shown(offsets),
    );
  }
  const [start, end] = offsets as [number, number];
  if (end > dataBytes) {
    throw malformed(
      `the data_offsets of tensor "${name}" to be within ${dataBytes} bytes of data`,
      shown(offsets),
    );
  }
  const bytes = dtypeBytes(dtype, elementCount(shape));
  if (end - start !== bytes) {
    throw malformed(
      `${bytes} bytes for tensor "${name}", ${dtype} ${shown(shape)}`,
      `${end - start}`,
    );
  }
  return { name, dtype, shape, start, end };
}

/**
 * The first name that the outermost object of valid JSON `text` has twice, quoted; `JSON.parse`
 * would silently keep the last.
 */
function duplicateMember(text: string): string | undefined {
  const names = new Set<string>();
  let depth = 0;
  // Strings with what makes them names, and the brackets outside of strings.
  for (const [token, string, colon] of text.matchAll(
    /("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/g,
  )) {
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    else if (colon !== undefined && depth === 1) {
      const name = JSON.parse(string!) as string;
      if (names.has(name)) return JSON.stringify(name);
      names.add(name);
    }
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return (
    Array.isArray(value) &&
    value.every((item) => Number.isSafeInteger(item) && item >= 0)
  );
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}

function malformed(expected: string, got: string): AppError {
  return new AppError(
    "malformed_body",
    `Expected safetensors with ${expected}, got ${got}`,
  );
}
