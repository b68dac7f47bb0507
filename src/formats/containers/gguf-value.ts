/** Decodes values of a GGUF's key-values. */
import { SCALAR_BYTES, VALUE_TYPE } from "./gguf-types.ts";

const LENGTH_BYTES = 8;
const TYPE_BYTES = 4;

export type GgufScalar = string | number | bigint | boolean;

/** Decodes an entry whose types were checked when the header was read. */
export function ggufValue(encoded: Uint8Array): GgufScalar | GgufScalar[] {
  const values = new Values(encoded);
  values.text();
  const type = values.uint32();
  if (type !== VALUE_TYPE.ARRAY) return values.scalar(type);
  const own = values.uint32();
  const count = values.uint64();
  return Array.from({ length: count }, () => values.scalar(own));
}

/** Strings and scalars as text for display; undefined for an array. */
export function ggufText(encoded: Uint8Array): string | undefined {
  const values = new Values(encoded);
  values.text();
  const type = values.uint32();
  return type === VALUE_TYPE.ARRAY ? undefined : String(values.scalar(type));
}

class Values {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    const { buffer, byteOffset, length } = bytes;
    this.#bytes = bytes;
    this.#view = new DataView(buffer, byteOffset, length);
  }

  uint32(): number {
    return this.#view.getUint32(this.#skip(TYPE_BYTES), true);
  }

  uint64(): number {
    return Number(this.#view.getBigUint64(this.#skip(LENGTH_BYTES), true));
  }

  text(): string {
    const length = this.uint64();
    const at = this.#skip(length);
    return UTF8.decode(this.#bytes.subarray(at, at + length));
  }

  scalar(type: number): GgufScalar {
    if (type === VALUE_TYPE.STRING) return this.text();
    return SCALARS[type]!(this.#view, this.#skip(SCALAR_BYTES[type]!));
  }

  /** Advances; returns the position before. */
  #skip(bytes: number): number {
    this.#at += bytes;
    return this.#at - bytes;
  }
}

const UTF8 = new TextDecoder("utf-8", {
  fatal: false,
  ignoreBOM: true,
});

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
