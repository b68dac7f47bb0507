/** Writes the header of a GGUF, version 3. */
import { concatenate } from "../stream/bytes.ts";
import {
  DEFAULT_ALIGNMENT,
  type GgufTensor,
  MAGIC,
  paddingAfter,
  ggufTensorBytes,
  VALUE_TYPE,
} from "./gguf-types.ts";

const VERSION = 3;

export type GgufValue =
  | { uint32: number }
  | { float32: number }
  | { boolean: boolean }
  | { string: string }
  | { strings: readonly string[] }
  | { int32s: readonly number[] }
  | { float32s: readonly number[] }
  | { uint8s: Uint8Array };

/** Everything before the data of these tensors, which follow in this order. */
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
    const bytes = ggufTensorBytes(tensor);
    offset += bytes + paddingAfter(bytes, alignment);
  }
  const bytes = lengthOf(fields);
  const head = concatenate(bytes + paddingAfter(bytes, alignment), fields);
  return { head, dataBytes: offset };
}

/** Encodes a key-value. */
export function encodePair(
  key: string,
  value: GgufValue,
): Uint8Array<ArrayBuffer> {
  return join([encodeString(key), ...encodeValue(value)]);
}

function encodeValue(value: GgufValue): Uint8Array[] {
  const { UINT8, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY } = VALUE_TYPE;
  if ("uint32" in value) return [words32(UINT32, value.uint32)];
  if ("float32" in value)
    return [words32(FLOAT32), littleEndian(Float32Array.of(value.float32))];
  if ("boolean" in value)
    return [words32(BOOL), Uint8Array.of(Number(value.boolean))];
  if ("string" in value) return [words32(STRING), encodeString(value.string)];
  const array = (type: number, count: number) => [
    words32(ARRAY, type),
    word64(count),
  ];
  if ("strings" in value) {
    const { strings } = value;
    return [...array(STRING, strings.length), ...strings.map(encodeString)];
  }
  if ("int32s" in value) {
    const { int32s } = value;
    const bytes = littleEndian(Int32Array.from(int32s));
    return [...array(INT32, int32s.length), bytes];
  }
  if ("float32s" in value) {
    const { float32s } = value;
    const bytes = littleEndian(Float32Array.from(float32s));
    return [...array(FLOAT32, float32s.length), bytes];
  }
  return [...array(UINT8, value.uint8s.length), value.uint8s];
}

/** All supported machines are little-endian. */
function littleEndian({
  buffer,
}: Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer>): Uint8Array {
  return new Uint8Array(buffer);
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

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return concatenate(lengthOf(parts), parts);
}

function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}
