/**
 * The GGUF container, version 3 and 2: "GGUF", version u32, counts of tensors and key-values u64, the
 * key-values, the tensors' names, dimensions (the contiguous one first), types and offsets, and their
 * bytes at multiples of `general.alignment`. All little-endian.
 *
 * Here, its numbers: of values, and of the tensor types that ggml has.
 */
export const MAGIC = 0x46554747;
export const DEFAULT_ALIGNMENT = 32;

/** Numbers of the value types that are more than bytes to us. */
export const VALUE_TYPE = {
  UINT32: 4,
  INT32: 5,
  FLOAT32: 6,
  STRING: 8,
  ARRAY: 9,
} as const;

/** ggml's numbers of the tensor types that are more than bytes to us. */
export const GGML_TYPE = { F32: 0, F16: 1, BF16: 30, MXFP4: 39 } as const;

/** Elements of a block and their bytes, by ggml's type number. */
export const TYPE_SIZES: Record<
  number,
  readonly [elements: number, bytes: number]
> = {
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

export type GgufTensor = {
  name: string;
  /** Contiguous first: the reverse of a shape. */
  dimensions: readonly number[];
  type: number;
};

/** Bytes of a tensor of a known type, its padding apart. */
export function tensorBytes({ type, dimensions }: GgufTensor): number {
  const [elements, bytes] = TYPE_SIZES[type]!;
  return (
    (dimensions.reduce((count, size) => count * size, 1) / elements) * bytes
  );
}

/** Bytes from there to the next multiple of `alignment`. */
export function paddingAfter(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment - bytes;
}
