/** The value of a GGUF's key, for a reader: strings and scalars as text. */
import { VALUE_TYPE } from "./gguf-types.ts";

const KEY_LENGTH_BYTES = 8;
const TYPE_BYTES = 4;

/** A key-value as it stands in a file; undefined of an array. */
export function ggufText(encoded: Uint8Array): string | undefined {
  const { buffer, byteOffset, length } = encoded;
  const view = new DataView(buffer, byteOffset, length);
  const typeAt = KEY_LENGTH_BYTES + Number(view.getBigUint64(0, true));
  const valueAt = typeAt + TYPE_BYTES;
  const type = view.getUint32(typeAt, true);
  if (type === VALUE_TYPE.STRING)
    return new TextDecoder().decode(encoded.subarray(valueAt + 8));
  const scalar = SCALARS[type]?.(view, valueAt);
  return scalar === undefined ? undefined : String(scalar);
}

/** By the value's type number. */
const SCALARS: Record<
  number,
  (view: DataView, at: number) => number | bigint | boolean
> = {
  0: (view, at) => view.getUint8(at),
  1: (view, at) => view.getInt8(at),
  2: (view, at) => view.getUint16(at, true),
  3: (view, at) => view.getInt16(at, true),
  4: (view, at) => view.getUint32(at, true),
  5: (view, at) => view.getInt32(at, true),
  6: (view, at) => view.getFloat32(at, true),
  7: (view, at) => view.getUint8(at) !== 0,
  10: (view, at) => view.getBigUint64(at, true),
  11: (view, at) => view.getBigInt64(at, true),
  12: (view, at) => view.getFloat64(at, true),
};
