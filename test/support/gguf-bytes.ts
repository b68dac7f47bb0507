/** GGUF files written field by field, so that any field can lie. Nothing is shared with the reader. */
import { concatenate } from "../../src/formats/stream/bytes.ts";

type RawPair = {
  key: string | Uint8Array;
  type: number;
  value: Field[];
};

export type RawTensor = {
  name: string | Uint8Array;
  /** Contiguous first. */
  dimensions: readonly (number | bigint)[];
  type: number;
  offset: number | bigint;
};

export type RawGguf = {
  magic: string;
  version: number;
  tensorCount: number | bigint;
  pairCount: number | bigint;
  pairs: readonly RawPair[];
  tensors: readonly RawTensor[];
  alignment: number;
  /** Behind the head and its padding. */
  data: Uint8Array;
};

/** Bytes, or a number of 4 or 8 of them, which may tell how much of something follows. */
export type Field =
  Uint8Array | { u32: number } | { u64: number | bigint; counts?: string };

export const STRING = 8;
export const ARRAY = 9;
export const UINT32 = 4;

export function text(value: string | Uint8Array): Field[] {
  const bytes =
    typeof value === "string" ? new TextEncoder().encode(value) : value;
  return [{ u64: bytes.length, counts: "bytes" }, bytes];
}

/** The fields of a head, in order. */
export function fieldsOf(file: RawGguf): Field[] {
  return [
    new TextEncoder().encode(file.magic),
    { u32: file.version },
    { u64: file.tensorCount, counts: "tensors" },
    { u64: file.pairCount, counts: "key-values" },
    ...file.pairs.flatMap(({ key, type, value }) => [
      ...text(key),
      { u32: type },
      ...value,
    ]),
    ...file.tensors.flatMap(({ name, dimensions, type, offset }) => [
      ...text(name),
      { u32: dimensions.length },
      ...dimensions.map((size) => ({ u64: size })),
      { u32: type },
      { u64: offset },
    ]),
  ];
}

function bytesOf(field: Field): Uint8Array {
  if (field instanceof Uint8Array) return field;
  const bytes = new Uint8Array("u32" in field ? 4 : 8);
  const view = new DataView(bytes.buffer);
  if ("u32" in field) view.setUint32(0, field.u32, true);
  else view.setBigUint64(0, BigInt.asUintN(64, BigInt(field.u64)), true);
  return bytes;
}

/** The whole file, of these fields in place of its own if they are told. */
export function ggufOf(
  file: RawGguf,
  fields: readonly Field[] = fieldsOf(file),
): Uint8Array<ArrayBuffer> {
  const parts = fields.map(bytesOf);
  const head = parts.reduce((sum, { length }) => sum + length, 0);
  const start = Math.ceil(head / file.alignment) * file.alignment;
  return concatenate(start + file.data.length, [
    ...parts,
    new Uint8Array(start - head),
    file.data,
  ]);
}

export type GgufTensorBytes = Omit<RawTensor, "offset"> & {
  bytes: Uint8Array;
};

/** A whole GGUF of these tensors, whose padding the last one lacks if told. */
export function ggufFile(
  tensors: readonly GgufTensorBytes[],
  { alignment = 32, lastPadded = true } = {},
): Uint8Array<ArrayBuffer> {
  const padded = (bytes: number) => Math.ceil(bytes / alignment) * alignment;
  let end = 0;
  const placed = tensors.map(({ bytes, ...tensor }) => {
    const offset = padded(end);
    end = offset + bytes.length;
    return { ...tensor, offset };
  });
  const data = new Uint8Array(lastPadded ? padded(end) : end);
  placed.forEach(({ offset }, i) => data.set(tensors[i]!.bytes, offset));
  const pairs = [
    { key: "general.architecture", type: STRING, value: text("gpt2") },
    { key: "general.alignment", type: UINT32, value: [{ u32: alignment }] },
  ];
  return ggufOf({
    magic: "GGUF",
    version: 3,
    tensorCount: placed.length,
    pairCount: pairs.length,
    pairs,
    tensors: placed,
    alignment,
    data,
  });
}
