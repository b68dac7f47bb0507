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
 * spread (PAPER: Algorithm 3). H is Sylvester's, orthonormal: butterflies in stride order 1, 2, 4, …,
 * then 1/√segmentLength, each in f32.
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
  for (; x < end; x += bytes) {
    multiply(x, signs, bytes);
    transform(x, bytes, segmentLength);
  }
}

/** The inverse: each segment becomes diag(signs) · H · segment. Shapes as for `hadamardF32`. */
export function hadamardInverseF32(x: usize, length: i32, segmentLength: i32, signs: usize): void {
  assert(length % segmentLength == 0, "length must be a multiple of segmentLength");
  assert((x & 15) == 0, "x must be 16-byte aligned");

  const end = x + (<usize>length << 2);
  const bytes = <usize>segmentLength << 2;
  for (; x < end; x += bytes) {
    transform(x, bytes, segmentLength);
    multiply(x, signs, bytes);
  }
}

// @ts-ignore: decorator
@inline
function multiply(x: usize, signs: usize, bytes: usize): void {
  for (let at: usize = 0; at < bytes; at += 16) {
    v128.store(x + at, f32x4.mul(v128.load(x + at), v128.load(signs + at)));
  }
}

/** H times one segment of `bytes` bytes. */
// @ts-ignore: decorator
@inline
function transform(x: usize, bytes: usize, segmentLength: i32): void {
  // Strides 1 and 2 inside a vector: [a, b, c, d] => [a+b, a−b, c+d, c−d] => [… + …, … − …]
  const odd = i32x4(0, 0x80000000, 0, 0x80000000);
  const upper = i32x4(0, 0, 0x80000000, 0x80000000);
  for (let at: usize = 0; at < bytes; at += 16) {
    let v = v128.load(x + at);
    v = f32x4.add(
      i32x4.shuffle(v, v, 0, 0, 2, 2),
      v128.xor(i32x4.shuffle(v, v, 1, 1, 3, 3), odd),
    );
    v = f32x4.add(
      i32x4.shuffle(v, v, 0, 1, 0, 1),
      v128.xor(i32x4.shuffle(v, v, 2, 3, 2, 3), upper),
    );
    v128.store(x + at, v);
  }
  for (let stride: usize = 16; stride < bytes; stride <<= 1) {
    for (let group: usize = 0; group < bytes; group += stride << 1) {
      for (let at = x + group; at < x + group + stride; at += 16) {
        const a = v128.load(at);
        const b = v128.load(at + stride);
        v128.store(at, f32x4.add(a, b));
        v128.store(at + stride, f32x4.sub(a, b));
      }
    }
  }
  const norm = f32x4.splat(<f32>(1 / sqrt<f64>(<f64>segmentLength)));
  for (let at: usize = 0; at < bytes; at += 16) {
    v128.store(x + at, f32x4.mul(v128.load(x + at), norm));
  }
}
