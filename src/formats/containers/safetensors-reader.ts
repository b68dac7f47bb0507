/**
 * Reads the header of a safetensors file. Strict, like the reference implementation (huggingface/safetensors):
 * tensors fill the data without gaps or overlaps, and no name appears twice.
 */
import { AppError } from "../../api/errors.ts";
import { type Dtype, DTYPE_BITS, dtypeBytes, isDtype } from "../dtype.ts";
import { malformedFile, quoted, shownJson } from "./malformed.ts";
import { isObject } from "../../api/json.ts";
import { METADATA, parseHeader } from "./safetensors-json.ts";
import { elementCount, isCountable, type TensorRange } from "../tensor.ts";

const malformed = malformedFile("safetensors");

const MAX_HEADER_BYTES = 8 * 1024 * 1024;
export const LENGTH_BYTES = 8;

export type Metadata = ReadonlyMap<string, string>;

export type SafetensorsHead = {
  /** In the order of their bytes. */
  tensors: TensorRange<Dtype>[];
  metadata: Metadata;
};

/**
 * The length of the JSON header, from a file's first 8 bytes. Errors: `malformed_body` if it exceeds the file or 8
 * MiB
 */
export function readHeaderLength(first: Uint8Array, fileBytes: number): number {
  if (fileBytes < LENGTH_BYTES) {
    throw malformed(`at least ${LENGTH_BYTES} bytes`, `${fileBytes}`);
  }
  const view = new DataView(first.buffer, first.byteOffset, first.length);
  const headerBytes = Number(view.getBigUint64(0, true));
  // No header is a TiB long: the file has another format.
  if (headerBytes > 2 ** 40) {
    const start = Array.from(first.subarray(0, LENGTH_BYTES), (byte) =>
      byte.toString(16).padStart(2, "0"),
    );
    throw new AppError(
      "malformed_body",
      `Expected safetensors, .npy or GGUF, or \`dtype\` and \`shape\` for raw values, got a file that begins with the bytes ${start.join(" ")}`,
    );
  }
  const limit = Math.min(MAX_HEADER_BYTES, fileBytes - LENGTH_BYTES);
  if (headerBytes > limit) {
    throw malformed(
      `a header of at most ${limit} bytes`,
      `a header length of ${headerBytes}`,
    );
  }
  return headerBytes;
}

/**
 * Parses the JSON header and checks it against the size of the data. Errors: `malformed_body`, `unsupported_dtype`,
 * `body_too_large` for too many tensors
 */
export function readHeader(
  json: Uint8Array,
  dataBytes: number,
): SafetensorsHead {
  let metadata: Metadata = new Map();
  const tensors: TensorRange<Dtype>[] = [];
  for (const [name, entry] of Object.entries(parseHeader(json))) {
    checkText(name);
    if (name === METADATA) metadata = readMetadata(entry);
    else tensors.push(readEntry(name, entry));
  }

  tensors.sort((a, b) => a.start - b.start || a.end - b.end);
  let position = 0;
  for (const { name, start, end } of tensors) {
    if (start !== position) {
      throw malformed(
        `tensor ${quoted(name)} to start where the one before ends, at ${position}`,
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

function readMetadata(entry: unknown): Metadata {
  // Some writers use null for no metadata.
  if (entry === null) return new Map();
  if (!isObject(entry))
    throw malformed(`${METADATA} to be an object`, shownJson(entry));
  const metadata = new Map<string, string>();
  for (const [key, value] of Object.entries(entry)) {
    if (typeof value !== "string") {
      throw malformed(
        `${METADATA} ${quoted(key)} to be a string`,
        shownJson(value),
      );
    }
    checkText(key);
    checkText(value);
    metadata.set(key, value);
  }
  return metadata;
}

/** Refuses lone surrogates, which JSON can escape but UTF-8 cannot encode. */
function checkText(text: string): void {
  if (/\p{Surrogate}/u.test(text))
    throw malformed(
      "names and metadata in Unicode",
      `${quoted(text)} with a lone surrogate`,
    );
}

function readEntry(name: string, entry: unknown): TensorRange<Dtype> {
  if (!isObject(entry))
    throw malformed(`tensor ${quoted(name)} to be an object`, shownJson(entry));
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isDtype(dtype)) {
    throw new AppError(
      "unsupported_dtype",
      `Expected tensor ${quoted(name)} to have a dtype of ${Object.keys(DTYPE_BITS).join(", ")}, got ${shownJson(dtype)}`,
    );
  }
  if (!isCounts(shape) || !isCountable(shape)) {
    throw malformed(
      `the shape of tensor ${quoted(name)} to be a list of sizes with a product below 2^53`,
      shownJson(shape),
    );
  }
  if (!isCounts(offsets) || offsets.length !== 2) {
    throw malformed(
      `the data_offsets of tensor ${quoted(name)} to be two positions`,
      shownJson(offsets),
    );
  }
  const [start, end] = offsets as [number, number];
  const bytes = dtypeBytes(dtype, elementCount(shape));
  if (end - start !== bytes) {
    throw malformed(
      `${bytes} bytes for tensor ${quoted(name)}, ${dtype} ${shownJson(shape)}`,
      `${end - start}`,
    );
  }
  return { name, dtype, shape, start, end };
}

function isCounts(value: unknown): value is number[] {
  return (
    Array.isArray(value) &&
    value.every((item) => Number.isSafeInteger(item) && item >= 0)
  );
}
