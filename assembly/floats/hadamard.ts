import { noise } from "../random/noise";

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
 * Blockwise Hadamard transform in place: each segment becomes diag(after) · H · diag(before) · segment.
 *
 * H is Sylvester's, with entries ±1: butterflies in stride order 1, 2, 4, … between the two diagonal products, all in
 * f32. A random Hadamard transform applies its signs before H (Algorithm 3): after H they would change no magnitude,
 * so outliers would not be spread. The inverse applies them after. `after` also includes the norm 1/√segmentLength.
 *
 * Shapes:   x f32 [length], before and after f32 [segmentLength], each 16-byte aligned
 * Requires: segmentLength 16, 32, 64, 128 or 256; length % segmentLength == 0
 * Source:   Algorithm 3 of arXiv 2502.20586
 */
export function hadamardF32(
  x: usize, length: i32, segmentLength: i32, before: usize, after: usize,
): void {
  assert(
    segmentLength >= 16 && segmentLength <= 256 && popcnt(segmentLength) == 1,
    "segmentLength must be 16, 32, 64, 128 or 256",
  );
  assert(length % segmentLength == 0, "length must be a multiple of segmentLength");
  assert((x & 15) == 0, "x must be 16-byte aligned");

  const end = x + (<usize>length << 2);
  const bytes = <usize>segmentLength << 2;
  const half = bytes >> 1;
  for (; x < end; x += bytes) {
    if (segmentLength == 16) strides1To8(x, before);
    else for (let at: usize = 0; at < bytes; at += 128) strides1To16(x + at, before + at);
    if (segmentLength < 64) {
      for (let at: usize = 0; at < bytes; at += 16) {
        v128.store(x + at, f32x4.mul(v128.load(x + at), v128.load(after + at)));
      }
      continue;
    }
    for (let stride: usize = 128; stride < half; stride <<= 1) {
      for (let at: usize = 0; at < half; at += 16) {
        butterfly(x + at + (at & ~(stride - 1)), stride);
      }
    }
    lastButterflies(x, x + half, after, after + half);
  }
}

/** The last stride, between `x` and `y`, and the product with `after`. */
// @ts-ignore: decorator
@inline
function lastButterflies(x: usize, y: usize, afterX: usize, afterY: usize): void {
  for (const end = y; x < end; x += 32, y += 32, afterX += 32, afterY += 32) {
    const a = v128.load(x);
    const b = v128.load(y);
    const c = v128.load(x, 16);
    const d = v128.load(y, 16);
    v128.store(x, f32x4.mul(f32x4.add(a, b), v128.load(afterX)));
    v128.store(y, f32x4.mul(f32x4.sub(a, b), v128.load(afterY)));
    v128.store(x, f32x4.mul(f32x4.add(c, d), v128.load(afterX, 16)), 16);
    v128.store(y, f32x4.mul(f32x4.sub(c, d), v128.load(afterY, 16)), 16);
  }
}

/** One butterfly of two vectors, `stride` bytes apart. */
// @ts-ignore: decorator
@inline
function butterfly(at: usize, stride: usize): void {
  const a = v128.load(at);
  const b = v128.load(at + stride);
  v128.store(at, f32x4.add(a, b));
  v128.store(at + stride, f32x4.sub(a, b));
}

/** Strides 1 to 8 over 16 elements. */
// @ts-ignore: decorator
@inline
function strides1To8(x: usize, before: usize): void {
  for (let at: usize = 0; at < 64; at += 16) {
    v128.store(x + at, butterflyLanes(x + at, before + at));
  }
  butterfly(x, 16);
  butterfly(x + 32, 16);
  butterfly(x, 32);
  butterfly(x + 16, 32);
}

/** Strides 1 to 16 over 32 elements. */
// @ts-ignore: decorator
@inline
function strides1To16(x: usize, before: usize): void {
  butterfly8(
    x, 16,
    butterflyLanes(x, before), butterflyLanes(x + 16, before + 16),
    butterflyLanes(x + 32, before + 32), butterflyLanes(x + 48, before + 48),
    butterflyLanes(x + 64, before + 64), butterflyLanes(x + 80, before + 80),
    butterflyLanes(x + 96, before + 96), butterflyLanes(x + 112, before + 112),
  );
}

/** Sign bits of lanes 1 and 3, and of lanes 2 and 3: in memory, as a load is cheaper than a constant. */
// @ts-ignore: decorator
@inline const MINUS_ODD: usize = memory.data<u32>([0, 0x80000000, 0, 0x80000000], 16);
// @ts-ignore: decorator
@inline const MINUS_UPPER: usize = memory.data<u32>([0, 0, 0x80000000, 0x80000000], 16);

/**
 * The vector at `x` times `before`, then strides 1 and 2: [a, b, c, d] => [a+b, a−b, c+d, c−d], then
 * lanes 2 and 3 to and from 0 and 1.
 */
// @ts-ignore: decorator
@inline
function butterflyLanes(x: usize, before: usize): v128 {
  let v = f32x4.mul(v128.load(x), v128.load(before));
  v = f32x4.add(i32x4.shuffle(v, v, 1, 0, 3, 2), v128.xor(v, v128.load(MINUS_ODD)));
  return f32x4.add(i32x4.shuffle(v, v, 2, 3, 0, 1), v128.xor(v, v128.load(MINUS_UPPER)));
}

/** Three butterfly stages over 8 vectors, stored `stride` bytes apart. */
// @ts-ignore: decorator
@inline
export function butterfly8(
  to: usize, stride: usize,
  a: v128, b: v128, c: v128, d: v128, e: v128, f: v128, g: v128, h: v128,
): void {
  let t = f32x4.sub(a, b); a = f32x4.add(a, b); b = t;
  t = f32x4.sub(c, d); c = f32x4.add(c, d); d = t;
  t = f32x4.sub(e, f); e = f32x4.add(e, f); f = t;
  t = f32x4.sub(g, h); g = f32x4.add(g, h); h = t;
  t = f32x4.sub(a, c); a = f32x4.add(a, c); c = t;
  t = f32x4.sub(b, d); b = f32x4.add(b, d); d = t;
  t = f32x4.sub(e, g); e = f32x4.add(e, g); g = t;
  t = f32x4.sub(f, h); f = f32x4.add(f, h); h = t;
  v128.store(to, f32x4.add(a, e));
  v128.store(to + stride, f32x4.add(b, f));
  v128.store(to + 2 * stride, f32x4.add(c, g));
  v128.store(to + 3 * stride, f32x4.add(d, h));
  v128.store(to + 4 * stride, f32x4.sub(a, e));
  v128.store(to + 5 * stride, f32x4.sub(b, f));
  v128.store(to + 6 * stride, f32x4.sub(c, g));
  v128.store(to + 7 * stride, f32x4.sub(d, h));
}
