/**
 * The GGUF container, version 3 and 2: "GGUF", version u32, counts of tensors and key-values u64, the
 * key-values, the tensors' names, dimensions (the contiguous one first), types and offsets, and their
 * bytes at multiples of `general.alignment`. All little-endian.
 *
 * Here, its numbers: of values, and of the tensor types that ggml has.
 */
import type { StoredType } from "../dtype.ts";
import { elementCount } from "../tensor.ts";

export const MAGIC = 0x46554747;
export const DEFAULT_ALIGNMENT = 32;

/** The value types that are interpreted. */
export const VALUE_TYPE = {
  UINT8: 0,
  UINT32: 4,
  INT32: 5,
  FLOAT32: 6,
  BOOL: 7,
  STRING: 8,
  ARRAY: 9,
} as const;

/** Bytes of a scalar value, by the value's type number: u8, i8, u16, i16, u32, i32, f32, bool, u64, i64, f64. */
export const SCALAR_BYTES: Record<number, number> = {
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

/** The tensor types that are interpreted, by ggml's numbers. */
export const GGML_TYPE = {
  F32: 0,
  F16: 1,
  Q8_0: 8,
  BF16: 30,
  MXFP4: 39,
} as const;

/** Name, elements per block and bytes per block, by ggml's type number. */
export const TENSOR_TYPES: Record<
  number,
  readonly [name: StoredType, elements: number, bytes: number]
> = {
  0: ["F32", 1, 4],
  1: ["F16", 1, 2],
  2: ["Q4_0", 32, 18],
  3: ["Q4_1", 32, 20],
  6: ["Q5_0", 32, 22],
  7: ["Q5_1", 32, 24],
  8: ["Q8_0", 32, 34],
  9: ["Q8_1", 32, 36],
  10: ["Q2_K", 256, 84],
  11: ["Q3_K", 256, 110],
  12: ["Q4_K", 256, 144],
  13: ["Q5_K", 256, 176],
  14: ["Q6_K", 256, 210],
  15: ["Q8_K", 256, 292],
  16: ["IQ2_XXS", 256, 66],
  17: ["IQ2_XS", 256, 74],
  18: ["IQ3_XXS", 256, 98],
  19: ["IQ1_S", 256, 50],
  20: ["IQ4_NL", 32, 18],
  21: ["IQ3_S", 256, 110],
  22: ["IQ2_S", 256, 82],
  23: ["IQ4_XS", 256, 136],
  24: ["I8", 1, 1],
  25: ["I16", 1, 2],
  26: ["I32", 1, 4],
  27: ["I64", 1, 8],
  28: ["F64", 1, 8],
  29: ["IQ1_M", 256, 56],
  30: ["BF16", 1, 2],
  34: ["TQ1_0", 256, 54],
  35: ["TQ2_0", 256, 66],
  39: ["MXFP4", 32, 17],
  40: ["NVFP4", 64, 36],
  41: ["Q1_0", 128, 18],
  42: ["Q2_0", 64, 18],
};

export type GgufTensor = {
  name: string;
  /** Contiguous dimension first: a reversed shape. */
  dimensions: readonly number[];
  type: number;
};

/** Bytes of a tensor, without padding. */
export function ggufTensorBytes({ type, dimensions }: GgufTensor): number {
  const [, elements, bytes] = TENSOR_TYPES[type]!;
  return (elementCount(dimensions) / elements) * bytes;
}

/** Bytes from `bytes` to the next multiple of `alignment`. */
export function paddingAfter(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment - bytes;
}
