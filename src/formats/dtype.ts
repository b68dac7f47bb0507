/** The dtypes of safetensors by name, and conversion of the float ones from and to f32. */
import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import { largestBits } from "../kernels/statistics.ts";
import {
  decodeBf16,
  decodeF16,
  encodeBf16,
  encodeF16,
  narrowF64,
} from "../kernels/vector.ts";

/** Bits of one element. */
export const DTYPE_BITS = {
  F64: 64,
  I64: 64,
  U64: 64,
  C64: 64,
  F32: 32,
  I32: 32,
  U32: 32,
  F16: 16,
  BF16: 16,
  I16: 16,
  U16: 16,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I8: 8,
  U8: 8,
  BOOL: 8,
  F6_E2M3: 6,
  F6_E3M2: 6,
  F4: 4,
} as const;

export type Dtype = keyof typeof DTYPE_BITS;

/** ggml's types of quantized blocks, which only GGUF has. */
type GgmlBlockType =
  | `Q${4 | 5 | 8}_${0 | 1}`
  | `Q${1 | 2}_0`
  | `Q${2 | 3 | 4 | 5 | 6 | 8}_K`
  | `IQ${1 | 2 | 3 | 4}_${"XXS" | "XS" | "S" | "M" | "NL"}`
  | `TQ${1 | 2}_0`
  | "MXFP4"
  | "NVFP4";

/** The stored types of all containers. */
export type StoredType = Dtype | GgmlBlockType;

/** Dtypes that can be loaded as f32. */
export const FLOAT_DTYPES = ["F64", "F32", "F16", "BF16"] as const;
export type FloatDtype = (typeof FLOAT_DTYPES)[number];
/** Dtypes as which f32 can be stored. */
export type DecodedDtype = Exclude<FloatDtype, "F64">;

const TO_F32 = { F64: narrowF64, F16: decodeF16, BF16: decodeBf16 };

export function isDtype(name: unknown): name is Dtype {
  return typeof name === "string" && Object.hasOwn(DTYPE_BITS, name);
}

export function isFloat(dtype: StoredType): dtype is FloatDtype {
  return (FLOAT_DTYPES as readonly StoredType[]).includes(dtype);
}

/** Bytes of `length` elements; a fraction where sub-byte elements do not fill the last byte. */
export function dtypeBytes(dtype: Dtype, length: number): number {
  return (length * DTYPE_BITS[dtype]) / 8;
}

/**
 * Loads little-endian `bytes` as f32 to `out` [bytes / dtypeBytes(dtype, 1)]. F64 is rounded, nearest-even; the rest
 * is exact. Inside `arena.scope`.
 */
export function loadFloats(
  out: Pointer,
  dtype: FloatDtype,
  bytes: Uint8Array,
): void {
  const { arena } = kernels();
  if (dtype === "F32") {
    arena.u8(out, bytes.length).set(bytes);
    return;
  }
  const length = bytes.length / dtypeBytes(dtype, 1);
  arena.scope(() => TO_F32[dtype](out, arena.copyIn(bytes), length));
}

/** The f32 bits of the smallest magnitude that becomes an infinity in each dtype. */
const OVERFLOW_BITS: Record<DecodedDtype, number> = {
  F32: 0x7f800000,
  F16: 0x477ff000, // 65520
  BF16: 0x7f7f8000,
};

/** Whether any of the f32 [length] at `x` is NaN, infinite, or beyond `dtype`. */
export function overflows(
  dtype: DecodedDtype,
  x: Pointer,
  length: number,
): boolean {
  return largestBits(x, length) >= OVERFLOW_BITS[dtype];
}

/** Stores the f32 [length] at `x` as little-endian bytes in `out`, rounded nearest-even. Inside `arena.scope`. */
export function storeFloats(
  dtype: DecodedDtype,
  x: Pointer,
  length: number,
  out = new Uint8Array(dtypeBytes(dtype, length)),
): Uint8Array<ArrayBuffer> {
  const { arena } = kernels();
  if (dtype === "F32") {
    out.set(arena.u8(x, length * 4));
    return out;
  }
  const encode = dtype === "F16" ? encodeF16 : encodeBf16;
  arena.scope(() => {
    const bits = arena.alloc(length * 2);
    encode(bits, x, length);
    out.set(arena.u8(bits, length * 2));
  });
  return out;
}
