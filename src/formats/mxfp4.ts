/**
 * A tensor as MXFP4 in the gpt-oss layout, and back.
 *
 *   x [..., K]  ↔  blocks u8 [..., K/32, 16]   element 2j in the low nibble of byte j, 2j+1 in the high
 *                  scales u8 [..., K/32]       E8M0: 2^(byte − 127), 255 is NaN
 *
 * Tensors are worked on in chunks, so the arena stays small whatever their size. Noise is indexed in
 * the whole tensor, so chunks do not show in the bytes.
 */
import { AppError } from "../api/errors.ts";
import type { Pointer } from "../kernels/arena.ts";
import {
  BLOCK_SIZE,
  dequantizeMxfp4,
  drawSigns,
  hadamard,
  hadamardInverse,
  type Prescale,
  quantizeMxfp4,
  type ScaleRule,
  type SegmentLength,
} from "../kernels/mxfp4.ts";
import { noiseKey, PURPOSE } from "../kernels/noise.ts";
import { kernels } from "../kernels/runtime.ts";
import { canonicalizeNaN } from "../kernels/vector.ts";
import {
  dtypeBytes,
  type FloatDtype,
  loadFloats,
  storeFloats,
} from "./dtype.ts";
import { elementCount } from "./safetensors.ts";

/** A multiple of every block and segment length. */
const CHUNK_LENGTH = 1 << 16;

export const ROUNDING_MODES = [
  "nearest-even",
  "nearest-away",
  "stochastic",
] as const;

/** Every choice that a tensor's bytes depend on. */
export type Scheme = {
  rounding: (typeof ROUNDING_MODES)[number];
  scale: ScaleRule;
  prescale: Prescale;
  /** Length of an RHT segment along the last dimension; 0: none. */
  hadamard: SegmentLength | 0;
  seed: number;
};

export type Mxfp4Bytes = { blocks: Uint8Array; scales: Uint8Array };

/** Throws `shape_mismatch` unless tensor `name` divides into blocks, and segments if there are any. */
export function checkDivides(
  name: string,
  shape: readonly number[],
  segmentLength: number,
): void {
  const unit = Math.max(BLOCK_SIZE, segmentLength);
  const last = shape.at(-1)!;
  if (last % unit !== 0) {
    throw new AppError(
      "shape_mismatch",
      `Expected the last dimension of tensor "${name}" to be a multiple of ${unit}, got ${last} of [${shape.join(", ")}]`,
    );
  }
}

/** Shapes of the two tensors that stand for one of `shape`. */
export function packedShapes(shape: readonly number[]): {
  blocks: number[];
  scales: number[];
} {
  const scales = [...shape.slice(0, -1), shape.at(-1)! / BLOCK_SIZE];
  return { blocks: [...scales, BLOCK_SIZE / 2], scales };
}

/**
 * MXFP4 of a float tensor.
 *
 * Shapes:   bytes `dtype` [shape], the last dimension as `checkDivides` asks
 * Random:   depends on (scheme.seed, position, index in the tensor); the signs on the seed alone
 * `position` tells the tensors of one file apart.
 */
export function quantizeTensor(
  bytes: Uint8Array,
  dtype: FloatDtype,
  shape: readonly number[],
  scheme: Scheme,
  position: number,
): Mxfp4Bytes {
  const length = elementCount(shape);
  const blocks = new Uint8Array(length / 2);
  const scales = new Uint8Array(length / BLOCK_SIZE);
  const key = noiseKey(scheme.seed, PURPOSE.fileRounding, position);
  const { arena } = kernels();

  for (const { start, count } of chunks(length)) {
    arena.scope(() => {
      const x = arena.allocF32(count);
      const elementBytes = arena.alloc(count / 2);
      const scaleBytes = arena.alloc(count / BLOCK_SIZE);
      loadFloats(
        x,
        dtype,
        bytes.subarray(
          dtypeBytes(dtype, start),
          dtypeBytes(dtype, start + count),
        ),
      );
      if (scheme.hadamard !== 0) {
        hadamard(
          x,
          count,
          scheme.hadamard,
          signs(scheme.hadamard, scheme.seed),
        );
      }
      quantizeMxfp4(elementBytes, scaleBytes, x, count, {
        rounding:
          scheme.rounding === "stochastic"
            ? { mode: scheme.rounding, key, firstElement: start }
            : { mode: scheme.rounding },
        scale: scheme.scale,
        prescale: scheme.prescale,
      });
      blocks.set(arena.u8(elementBytes, count / 2), start / 2);
      scales.set(arena.u8(scaleBytes, count / BLOCK_SIZE), start / BLOCK_SIZE);
    });
  }
  return { blocks, scales };
}

/**
 * The values of MXFP4 bytes as little-endian `dtype`, chunk by chunk, times 4/3 if they were
 * prescaled by 3/4, the RHT undone. A block whose scale is 255 is NaN, and so is its segment.
 */
export function* dequantizeTensor(
  { blocks, scales }: Mxfp4Bytes,
  dtype: Exclude<FloatDtype, "F64">,
  scheme: Pick<Scheme, "prescale" | "hadamard" | "seed">,
): Generator<Uint8Array> {
  const { arena } = kernels();
  const factor = scheme.prescale === 0.75 ? 4 / 3 : 1;

  for (const { start, count } of chunks(scales.length * BLOCK_SIZE)) {
    yield arena.scope(() => {
      const x = arena.allocF32(count);
      const end = start + count;
      const elements = arena.copyIn(blocks.subarray(start / 2, end / 2));
      const scaleBytes = arena.copyIn(
        scales.subarray(start / BLOCK_SIZE, end / BLOCK_SIZE),
      );
      dequantizeMxfp4(x, elements, scaleBytes, count, factor);
      if (scheme.hadamard !== 0) {
        hadamardInverse(
          x,
          count,
          scheme.hadamard,
          signs(scheme.hadamard, scheme.seed),
        );
      }
      // Arithmetic on a NaN may leave any of its bit patterns.
      canonicalizeNaN(x, count);
      return storeFloats(dtype, x, count);
    });
  }
}

function* chunks(length: number): Generator<{ start: number; count: number }> {
  for (let start = 0; start < length; start += CHUNK_LENGTH) {
    yield { start, count: Math.min(CHUNK_LENGTH, length - start) };
  }
}

/** The sign vector that all tensors of a file share. Inside `arena.scope`. */
function signs(segmentLength: SegmentLength, seed: number): Pointer {
  const pointer = kernels().arena.allocF32(segmentLength);
  drawSigns(pointer, segmentLength, noiseKey(seed, PURPOSE.fileSigns));
  return pointer;
}
