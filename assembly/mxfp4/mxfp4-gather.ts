/**
 * Copies 64 k of up to 16 rows of an operand to a scratch, rotated or unchanged.
 *
 * Lanes are 4 rows, vectors run along k. So the transform needs no shuffles, and an operand whose rows are adjacent
 * in memory (a transposed one) needs no transposition. Four strips of 4 rows are read together: 64 bytes of each
 * memory row, a whole cache line.
 */
import { butterfly8 } from "../floats/hadamard";
import { GROUP, STRIP_ROWS, UNIT_BYTES } from "./mxfp4-panel";
import { transposeTile } from "../simd/transpose";

/** Bytes of one strip's group in the scratch: 64 vectors. */
// @ts-ignore: decorator
@inline export const STRIP_BYTES: usize = 1024;
/** Bytes of one block's 32 vectors in the scratch. */
// @ts-ignore: decorator
@inline export const BLOCK_BYTES: usize = 512;
/** Strips in the scratch at a time. */
// @ts-ignore: decorator
@inline export const STRIPS: i32 = 4;
/** Offset of the bits of each block's largest magnitude, by lane, two blocks for each strip. */
// @ts-ignore: decorator
@inline export const TOPS: usize = 4096;
// @ts-ignore: decorator
@inline export const TOPS_BYTES: usize = 32;
/** Bytes of the scratch: values and tops of four strips. */
// @ts-ignore: decorator
@inline export const GATHERED_BYTES: usize = 4224;
/** The rotation omits its norm, 1/8 = 2^−3, which is applied with the scale. */
// @ts-ignore: decorator
@inline const NORM_EXPONENT: i32 = 3;
/**
 * The bits of 2^−106: if a block's largest magnitude is at least that, values small enough to be rounded by the norm
 * do not matter.
 */
// @ts-ignore: decorator
@inline const LEAST_EXACT: i32 = 21 << 23;

// @ts-ignore: decorator
@inline export const MAGNITUDE: usize = memory.data<u32>([0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff], 16);

/** Copies `length` k of up to four strips to the scratch; rows past the last are zero. */
export function gather(
  scratch: usize, source: usize, row: i32, rows: i32, strips: i32, k0: i32, length: i32,
  rowStride: i32, kStride: i32,
): void {
  const rowBytes = <usize>rowStride << 2;
  const kBytes = <usize>kStride << 2;
  const from = source + <usize>row * rowBytes + <usize>k0 * kBytes;
  const whole = wholeStrips(row, rows, strips);
  if (rowStride == 1) {
    for (let i = 0; i < length; i++) {
      for (let strip = 0; strip < whole; strip++) {
        const v = v128.load(from + <usize>i * kBytes + (<usize>strip << 4));
        v128.store(scratch + <usize>strip * STRIP_BYTES + (<usize>i << 4), v);
      }
    }
  } else {
    for (let strip = 0; strip < whole; strip++) {
      const line = from + <usize>(strip * STRIP_ROWS) * rowBytes;
      const to = scratch + <usize>strip * STRIP_BYTES;
      for (let i = 0; i < length; i += 4) {
        transposeTile(to + (<usize>i << 4), UNIT_BYTES, line + (<usize>i << 2), rowBytes);
      }
    }
  }
  for (let strip = whole; strip < strips; strip++) {
    const first = row + strip * STRIP_ROWS;
    gatherEdge(scratch + <usize>strip * STRIP_BYTES, source, first, rows, k0, length, rowBytes, kBytes);
  }
  for (let strip = 0; strip < strips; strip++) {
    const values = scratch + <usize>strip * STRIP_BYTES;
    if (length < GROUP) memory.fill(values + BLOCK_BYTES, 0, BLOCK_BYTES);
    const tops = scratch + TOPS + <usize>strip * TOPS_BYTES;
    v128.store(tops, blockTop(values));
    v128.store(tops, blockTop(values + BLOCK_BYTES), 16);
  }
}

/** Bits of the largest magnitude in 32 vectors, by lane. NaN sorts above infinity. */
// @ts-ignore: decorator
@inline
function blockTop(from: usize): v128 {
  const magnitude = v128.load(MAGNITUDE);
  let top = i32x4.splat(0);
  let top2 = top;
  for (let i: usize = 0; i < BLOCK_BYTES; i += 32) {
    top = i32x4.max_s(top, v128.and(v128.load(from + i), magnitude));
    top2 = i32x4.max_s(top2, v128.and(v128.load(from + i, 16), magnitude));
  }
  return i32x4.max_s(top, top2);
}

/**
 * Rows that are packed before the next 64 k. If rows are adjacent, that is 1 KiB of each memory line: lines are
 * further apart than a processor prefetches, and often map to the same cache sets, so the rest of a line would be
 * evicted.
 */
// @ts-ignore: decorator
@inline
export function rowsTogether(rowStride: i32): i32 {
  return rowStride == 1 ? 256 : STRIPS * STRIP_ROWS;
}

/** How many of the strips from `row` on have all four rows. */
// @ts-ignore: decorator
@inline
export function wholeStrips(row: i32, rows: i32, strips: i32): i32 {
  return min(strips, max(0, (rows - row) >> 2));
}

/** Copies `length` k of a strip with fewer than four rows. */
function gatherEdge(
  to: usize, source: usize, first: i32, rows: i32, k0: i32, length: i32, rowBytes: usize,
  kBytes: usize,
): void {
  for (let i = 0; i < length; i++, to += 16) {
    v128.store(to, f32x4.splat(0));
    for (let lane = 0; lane < rows - first; lane++) {
      const element = source + <usize>(first + lane) * rowBytes + <usize>(k0 + i) * kBytes;
      store<f32>(to + (<usize>lane << 2), load<f32>(element));
    }
  }
}

/**
 * Writes 64 k of up to four strips to the scratch as H · diag(signs) · x; returns the exponent of the norm by which
 * they still have to be divided.
 */
export function rotateGroup(
  scratch: usize, source: usize, row: i32, rows: i32, strips: i32, k0: i32,
  rowStride: i32, kStride: i32, signs: usize,
): i32 {
  const rowBytes = <usize>rowStride << 2;
  const kBytes = <usize>kStride << 2;
  const whole = wholeStrips(row, rows, strips);
  const from = source + <usize>row * rowBytes + <usize>k0 * kBytes;
  if (rowStride == 1) {
    rotateColumnStrips(scratch, from, kBytes, whole, signs);
  } else {
    for (let strip = 0; strip < whole; strip++) {
      const at = from + <usize>(strip * STRIP_ROWS) * rowBytes;
      const to = scratch + <usize>strip * STRIP_BYTES;
      for (let i: usize = 0; i < <usize>GROUP; i += 8) {
        rotateRows(to + (i << 4), at + (i << 2), rowBytes, signs + (i << 2));
      }
    }
  }
  for (let strip = whole; strip < strips; strip++) {
    const to = scratch + <usize>strip * STRIP_BYTES;
    gatherEdge(to, source, row + strip * STRIP_ROWS, rows, k0, GROUP, rowBytes, kBytes);
    rotateColumnStrips(to, to, UNIT_BYTES, 1, signs);
  }
  for (let strip = 0; strip < strips; strip++) {
    rotateRest(scratch + <usize>strip * STRIP_BYTES, scratch + TOPS + <usize>strip * TOPS_BYTES);
  }
  return settleNorm(scratch, strips);
}

/** Signs, then strides 1, 2, 4, over vectors `kBytes` apart, each of four rows. */
function rotateColumnStrips(scratch: usize, from: usize, kBytes: usize, strips: i32, signs: usize): void {
  // Eight k of all strips before the next eight, since a power-of-two stride maps them to one cache set.
  for (let i = 0; i < GROUP; i += 8) {
    let at = from + <usize>i * kBytes;
    let to = scratch + (<usize>i << 4);
    const sign = signs + (<usize>i << 2);
    for (let strip = 0; strip < strips; strip++, at += 16, to += STRIP_BYTES) {
      const a = f32x4.mul(v128.load(at), v128.load32_splat(sign));
      const b = f32x4.mul(v128.load(at + kBytes), v128.load32_splat(sign, 4));
      const c = f32x4.mul(v128.load(at + 2 * kBytes), v128.load32_splat(sign, 8));
      const d = f32x4.mul(v128.load(at + 3 * kBytes), v128.load32_splat(sign, 12));
      const e = f32x4.mul(v128.load(at + 4 * kBytes), v128.load32_splat(sign, 16));
      const f = f32x4.mul(v128.load(at + 5 * kBytes), v128.load32_splat(sign, 20));
      const g = f32x4.mul(v128.load(at + 6 * kBytes), v128.load32_splat(sign, 24));
      const h = f32x4.mul(v128.load(at + 7 * kBytes), v128.load32_splat(sign, 28));
      butterfly8(to, 16, a, b, c, d, e, f, g, h);
    }
  }
}

/** The same for 8 k that are adjacent in each of four rows, `rowBytes` apart. */
// @ts-ignore: decorator
@inline
function rotateRows(to: usize, from: usize, rowBytes: usize, sign: usize): void {
  const low = v128.load(sign);
  const high = v128.load(sign, 16);
  const r0 = f32x4.mul(v128.load(from), low);
  const r1 = f32x4.mul(v128.load(from + rowBytes), low);
  const r2 = f32x4.mul(v128.load(from + 2 * rowBytes), low);
  const r3 = f32x4.mul(v128.load(from + 3 * rowBytes), low);
  const r4 = f32x4.mul(v128.load(from, 16), high);
  const r5 = f32x4.mul(v128.load(from + rowBytes, 16), high);
  const r6 = f32x4.mul(v128.load(from + 2 * rowBytes, 16), high);
  const r7 = f32x4.mul(v128.load(from + 3 * rowBytes, 16), high);
  const s0 = i32x4.shuffle(r0, r1, 0, 4, 1, 5);
  const s1 = i32x4.shuffle(r0, r1, 2, 6, 3, 7);
  const s2 = i32x4.shuffle(r2, r3, 0, 4, 1, 5);
  const s3 = i32x4.shuffle(r2, r3, 2, 6, 3, 7);
  const s4 = i32x4.shuffle(r4, r5, 0, 4, 1, 5);
  const s5 = i32x4.shuffle(r4, r5, 2, 6, 3, 7);
  const s6 = i32x4.shuffle(r6, r7, 0, 4, 1, 5);
  const s7 = i32x4.shuffle(r6, r7, 2, 6, 3, 7);
  butterfly8(
    to, 16,
    i64x2.shuffle(s0, s2, 0, 2), i64x2.shuffle(s0, s2, 1, 3),
    i64x2.shuffle(s1, s3, 0, 2), i64x2.shuffle(s1, s3, 1, 3),
    i64x2.shuffle(s4, s6, 0, 2), i64x2.shuffle(s4, s6, 1, 3),
    i64x2.shuffle(s5, s7, 0, 2), i64x2.shuffle(s5, s7, 1, 3),
  );
}

/**
 * Strides 8, 16, 32 in place, and the largest magnitudes of the results: as butterfly8, but using the results while
 * they are in registers.
 */
function rotateRest(x: usize, tops: usize): void {
  const magnitude = v128.load(MAGNITUDE);
  let top0 = i32x4.splat(0);
  let top1 = top0;
  for (const end = x + 128; x < end; x += 16) {
    const a0 = v128.load(x);
    const b0 = v128.load(x, 128);
    const c0 = v128.load(x, 256);
    const d0 = v128.load(x, 384);
    const e0 = v128.load(x, 512);
    const f0 = v128.load(x, 640);
    const g0 = v128.load(x, 768);
    const h0 = v128.load(x, 896);
    const a1 = f32x4.add(a0, b0);
    const b1 = f32x4.sub(a0, b0);
    const c1 = f32x4.add(c0, d0);
    const d1 = f32x4.sub(c0, d0);
    const e1 = f32x4.add(e0, f0);
    const f1 = f32x4.sub(e0, f0);
    const g1 = f32x4.add(g0, h0);
    const h1 = f32x4.sub(g0, h0);
    const a2 = f32x4.add(a1, c1);
    const c2 = f32x4.sub(a1, c1);
    const b2 = f32x4.add(b1, d1);
    const d2 = f32x4.sub(b1, d1);
    const e2 = f32x4.add(e1, g1);
    const g2 = f32x4.sub(e1, g1);
    const f2 = f32x4.add(f1, h1);
    const h2 = f32x4.sub(f1, h1);
    const a3 = f32x4.add(a2, e2);
    const e3 = f32x4.sub(a2, e2);
    v128.store(x, a3);
    v128.store(x, e3, 512);
    top0 = i32x4.max_s(top0, v128.and(a3, magnitude));
    top1 = i32x4.max_s(top1, v128.and(e3, magnitude));
    const b3 = f32x4.add(b2, f2);
    const f3 = f32x4.sub(b2, f2);
    v128.store(x, b3, 128);
    v128.store(x, f3, 640);
    top0 = i32x4.max_s(top0, v128.and(b3, magnitude));
    top1 = i32x4.max_s(top1, v128.and(f3, magnitude));
    const c3 = f32x4.add(c2, g2);
    const g3 = f32x4.sub(c2, g2);
    v128.store(x, c3, 256);
    v128.store(x, g3, 768);
    top0 = i32x4.max_s(top0, v128.and(c3, magnitude));
    top1 = i32x4.max_s(top1, v128.and(g3, magnitude));
    const d3 = f32x4.add(d2, h2);
    const h3 = f32x4.sub(d2, h2);
    v128.store(x, d3, 384);
    v128.store(x, h3, 896);
    top0 = i32x4.max_s(top0, v128.and(d3, magnitude));
    top1 = i32x4.max_s(top1, v128.and(h3, magnitude));
  }
  v128.store(tops, top0);
  v128.store(tops, top1, 16);
}

/**
 * The exponent of the norm that is still to be applied: NORM_EXPONENT; or 0 if values are so small that rounding by
 * the norm may matter, in which case it is applied here.
 */
function settleNorm(scratch: usize, strips: i32): i32 {
  const tops = scratch + TOPS;
  const topsEnd = tops + <usize>strips * TOPS_BYTES;
  // Minus one, unsigned, so that zeros become the largest value.
  const one = i32x4.splat(1);
  let least = i32x4.splat(-1);
  for (let at = tops; at < topsEnd; at += 16) least = i32x4.min_u(least, i32x4.sub(v128.load(at), one));
  if (i32x4.all_true(i32x4.ge_u(least, i32x4.splat(LEAST_EXACT - 1)))) return NORM_EXPONENT;
  const norm = f32x4.splat(0.125);
  for (let at = scratch; at < scratch + <usize>strips * STRIP_BYTES; at += 16) {
    v128.store(at, f32x4.mul(v128.load(at), norm));
  }
  for (let at = tops; at < topsEnd; at += 16) v128.store(at, f32x4.mul(v128.load(at), norm));
  return 0;
}
