import { noise } from "./noise";

/**
 * The sign vector S of a random Hadamard transform: ±1, from the top bit of noise(key, i).
 *
 * Shapes:   out f32 [length]
 * Random:   element i depends on (key, i) only
 */
export function signsF32(out: usize, length: i32, key0: u32, key1: u32): void {
  for (let i = 0; i < length; i++) {
    const negative = noise(key0, key1, <u32>i) >> 31;
    store<f32>(out + (<usize>i << 2), negative ? -1 : 1);
  }
}

/**
 * Blockwise random Hadamard transform in place: each segment becomes H · diag(signs) · segment.
 *
 * Signs come first: after H they would change no magnitude, and quantization error would not be
 * spread (Algorithm 3). H is Sylvester's, orthonormal: butterflies in stride order 1, 2, 4, …, then
 * 1/√segmentLength, each in f32.
 *
 * Shapes:   x f32 [length], 16-byte aligned; signs f32 [segmentLength], 16-byte aligned
 * Requires: segmentLength 16, 32, 64, 128 or 256; length % segmentLength == 0
 * Source:   Algorithm 3 of arXiv 2502.20586
 */
export function hadamardF32(x: usize, length: i32, segmentLength: i32, signs: usize): void {
  assert(length % segmentLength == 0, "length must be a multiple of segmentLength");
  assert((x & 15) == 0, "x must be 16-byte aligned");

  const end = x + (<usize>length << 2);
  const bytes = <usize>segmentLength << 2;
  const norm = normOf(segmentLength);
  for (; x < end; x += bytes) {
    for (let at: usize = 0; at < bytes; at += 16) {
      v128.store(x + at, butterflyLanes(f32x4.mul(v128.load(x + at), v128.load(signs + at))));
    }
    transform(x, bytes, norm);
  }
}

/** The inverse: each segment becomes diag(signs) · H · segment. Shapes as for `hadamardF32`. */
export function hadamardInverseF32(x: usize, length: i32, segmentLength: i32, signs: usize): void {
  assert(length % segmentLength == 0, "length must be a multiple of segmentLength");
  assert((x & 15) == 0, "x must be 16-byte aligned");

  const end = x + (<usize>length << 2);
  const bytes = <usize>segmentLength << 2;
  const norm = normOf(segmentLength);
  for (; x < end; x += bytes) {
    for (let at: usize = 0; at < bytes; at += 16) {
      v128.store(x + at, butterflyLanes(v128.load(x + at)));
    }
    transform(x, bytes, norm);
    for (let at: usize = 0; at < bytes; at += 16) {
      v128.store(x + at, f32x4.mul(v128.load(x + at), v128.load(signs + at)));
    }
  }
}

/** 1/√segmentLength in f32, in all lanes. */
// @ts-ignore: decorator
@inline
function normOf(segmentLength: i32): v128 {
  return f32x4.splat(<f32>(1 / sqrt<f64>(<f64>segmentLength)));
}

/** Sign bits of lanes 1 and 3, and of lanes 2 and 3: in memory, as a load is cheaper than a constant. */
// @ts-ignore: decorator
@inline const MINUS_ODD: usize = memory.data<u32>([0, 0x80000000, 0, 0x80000000], 16);
// @ts-ignore: decorator
@inline const MINUS_UPPER: usize = memory.data<u32>([0, 0, 0x80000000, 0x80000000], 16);

/** Strides 1 and 2: [a, b, c, d] => [a+b, a−b, c+d, c−d], then lanes 2 and 3 to and from 0 and 1. */
// @ts-ignore: decorator
@inline
function butterflyLanes(v: v128): v128 {
  v = f32x4.add(
    i32x4.shuffle(v, v, 0, 0, 2, 2),
    v128.xor(i32x4.shuffle(v, v, 1, 1, 3, 3), v128.load(MINUS_ODD)),
  );
  return f32x4.add(
    i32x4.shuffle(v, v, 0, 1, 0, 1),
    v128.xor(i32x4.shuffle(v, v, 2, 3, 2, 3), v128.load(MINUS_UPPER)),
  );
}

/** The strides from 4 on, two at a time, and the norm with the last. `bytes` is the segment's. */
// @ts-ignore: decorator
@inline
function transform(x: usize, bytes: usize, norm: v128): void {
  let stride: usize = 16;
  for (; stride << 2 < bytes; stride <<= 2) {
    for (let group: usize = 0; group < bytes; group += stride << 2) {
      for (let at = x + group; at < x + group + stride; at += 16) butterfly4(at, stride);
    }
  }
  if (stride << 2 == bytes) {
    for (let at = x; at < x + stride; at += 16) butterfly4Scaled(at, stride, norm);
    return;
  }
  for (let at = x; at < x + stride; at += 16) {
    const a = v128.load(at);
    const b = v128.load(at + stride);
    v128.store(at, f32x4.mul(f32x4.add(a, b), norm));
    v128.store(at + stride, f32x4.mul(f32x4.sub(a, b), norm));
  }
}

/** Two butterfly stages over four vectors `stride` bytes apart. */
// @ts-ignore: decorator
@inline
function butterfly4(at: usize, stride: usize): void {
  const a = v128.load(at);
  const b = v128.load(at + stride);
  const c = v128.load(at + 2 * stride);
  const d = v128.load(at + 3 * stride);
  const sumAB = f32x4.add(a, b);
  const differenceAB = f32x4.sub(a, b);
  const sumCD = f32x4.add(c, d);
  const differenceCD = f32x4.sub(c, d);
  v128.store(at, f32x4.add(sumAB, sumCD));
  v128.store(at + stride, f32x4.add(differenceAB, differenceCD));
  v128.store(at + 2 * stride, f32x4.sub(sumAB, sumCD));
  v128.store(at + 3 * stride, f32x4.sub(differenceAB, differenceCD));
}

/** The last two stages, and the norm. */
// @ts-ignore: decorator
@inline
function butterfly4Scaled(at: usize, stride: usize, norm: v128): void {
  butterfly4(at, stride);
  v128.store(at, f32x4.mul(v128.load(at), norm));
  v128.store(at + stride, f32x4.mul(v128.load(at + stride), norm));
  v128.store(at + 2 * stride, f32x4.mul(v128.load(at + 2 * stride), norm));
  v128.store(at + 3 * stride, f32x4.mul(v128.load(at + 3 * stride), norm));
}
