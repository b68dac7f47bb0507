/**
 * Quantize one operand of an MXFP4 GEMM straight into its panel: rotate (RHT), choose scales, round.
 *
 * Lanes are 4 rows, vectors run along k. So the transform and the block maxima need no shuffles, and
 * an operand whose rows are adjacent in memory (a transposed one) needs no transpose. A segment of 64
 * k goes through a scratch of 1 KiB a strip, four strips at a time: 64 bytes of each memory row, a
 * whole cache line.
 */
import { E2M1_EMAX, E8M0_BIAS, E8M0_NAN } from "./constants";
import {
  A_GROUP_BYTES, A_SCALES, A_SUMS, B_GROUP_BYTES, B_OFFSET, B_SCALES, B_SCALE_BIAS, BLOCK_UNITS,
  GROUP, PANEL_HEADER_BYTES, STRIP_ROWS, UNIT_BYTES,
} from "./mxfp4-panel";
import { noise4 } from "./noise";
import { transposeTile } from "./transpose";

/** Bytes of one strip's group in the scratch: 64 vectors. */
// @ts-ignore: decorator
@inline const STRIP_BYTES: usize = 1024;
/** Bytes of one block's 32 vectors there. */
// @ts-ignore: decorator
@inline const BLOCK_BYTES: usize = 512;
/** Strips that go through the scratch together. */
// @ts-ignore: decorator
@inline const STRIPS: i32 = 4;
/** Adding it leaves the nearest integer, ties to even, in the low bits of an f32: 1.5 · 2^23. */
// @ts-ignore: decorator
@inline const ROUND: f32 = 12582912;
/** Below this scale byte 4096 / scale would leave f32; such a block is lifted by 2^64 first. */
// @ts-ignore: decorator
@inline const LIFT_BELOW: i32 = 12;
// @ts-ignore: decorator
@inline const LIFT_EXPONENT: i32 = 64;

/**
 * Constants of the inner loops, one v128 each. In memory, because V8 rebuilds a v128 constant from
 * immediates at each use, which costs more than a load.
 */
// @ts-ignore: decorator
@inline const ROUND_F32: usize = memory.data<f32>([ROUND, ROUND, ROUND, ROUND], 16);
// @ts-ignore: decorator
@inline const MAGNITUDE: usize = memory.data<u32>([0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff], 16);
// @ts-ignore: decorator
@inline const ONES: usize = memory.data<u32>([1, 1, 1, 1], 16);
// @ts-ignore: decorator
@inline const TWOS: usize = memory.data<u32>([2, 2, 2, 2], 16);
// @ts-ignore: decorator
@inline const OFFSETS: usize = memory.data<u32>([0x18181818, 0x18181818, 0x18181818, 0x18181818], 16);
// @ts-ignore: decorator
@inline const TWO_F32: usize = memory.data<f32>([2, 2, 2, 2], 16);
// @ts-ignore: decorator
@inline const EIGHT_F32: usize = memory.data<f32>([8, 8, 8, 8], 16);
// @ts-ignore: decorator
@inline const TWELVE_F32: usize = memory.data<f32>([12, 12, 12, 12], 16);
// @ts-ignore: decorator
@inline const MINUS_TWELVE_F32: usize = memory.data<f32>([-12, -12, -12, -12], 16);
// @ts-ignore: decorator
@inline const EXPONENT_BITS: usize = memory.data<u32>([0x7f800000, 0x7f800000, 0x7f800000, 0x7f800000], 16);
/** The bits of ROUND less those of 2. */
// @ts-ignore: decorator
@inline const ROUND_LESS_TWO: usize = memory.data<u32>([0x0b400000, 0x0b400000, 0x0b400000, 0x0b400000], 16);
// @ts-ignore: decorator
@inline const DITHER_MASK: usize = memory.data<u32>([0x07ff07ff, 0x07ff07ff, 0x07ff07ff, 0x07ff07ff], 16);
// @ts-ignore: decorator
@inline const EVEN_BYTES: usize = memory.data<u32>([0x00ff00ff, 0x00ff00ff, 0x00ff00ff, 0x00ff00ff], 16);
/** What lies below E2M1's step at a number of half-units: 0 below 4, 1 below 8, then 3. */
// @ts-ignore: decorator
@inline const BELOW_STEP: usize = memory.data<u8>([0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 3, 0, 0, 0], 16);

/**
 * Quantize `source` into `panel`, for `gemmMxfp4`.
 *
 * Without rounding noise: Algorithm 1, scale rule floor, to nearest, ties to even. With it: Algorithm 2,
 * prescale 3/4 and stochastic rounding. With signs: RHT of each 64 along k first. The values are
 * those of `hadamardF32` and `quantize…Mxfp4` on the same row; missing rows are zero.
 *
 * Shapes:   panel as in mxfp4-panel.ts, for `rows` rounded up to 4 (side 0, a) or 8 (side 1, b);
 *           source f32, element (row, k) at row · rowStride + k · kStride; one stride is 1;
 *           signs f32 [64] or 0; scratch 4 KiB, 16-byte aligned
 * Requires: k % 32 == 0, and k % 64 == 0 with signs
 * Random:   element (row, k) takes half of noise(key, (row · K + k) / 2): docs/randomness.md
 * Source:   Algorithms 1, 2 and 3 of arXiv 2502.20586
 */
export function packMxfp4(
  panel: usize, source: usize, rows: i32, k: i32, rowStride: i32, kStride: i32, side: i32,
  signs: usize, stochastic: i32, key0: u32, key1: u32, scratch: usize,
): void {
  assert(k % 32 == 0, "k must be a multiple of 32");
  assert(signs == 0 || k % GROUP == 0, "k must be a multiple of 64 to be rotated");
  assert(rowStride == 1 || kStride == 1, "one stride must be 1");
  assert((scratch & 15) == 0, "scratch must be 16-byte aligned");

  v128.store(panel, i32x4.splat(E8M0_NAN));
  v128.store(panel, i32x4.splat(0), 16);
  const paddedRows = side == 0 ? (rows + 3) & ~3 : (rows + 7) & ~7;
  const groupBytes = side == 0 ? A_GROUP_BYTES : B_GROUP_BYTES;
  const lineBytes = <usize>((k + GROUP - 1) / GROUP) * groupBytes; // of a strip of a, of a pair of b
  const body = panel + PANEL_HEADER_BYTES;

  for (let row = 0; row < paddedRows; row += STRIPS * STRIP_ROWS) {
    const strips = min(STRIPS, (paddedRows - row) / STRIP_ROWS);
    let column = body;
    for (let k0 = 0; k0 < k; k0 += GROUP, column += groupBytes) {
      if (signs) rotateGroup(scratch, source, row, rows, strips, k0, rowStride, kStride, signs);
      else gather(scratch, source, row, rows, strips, k0, min(GROUP, k - k0), rowStride, kStride);
      for (let strip = 0; strip < strips; strip++) {
        const values = scratch + <usize>strip * STRIP_BYTES;
        const first = row + strip * STRIP_ROWS;
        const pairs = i32x4.add(rowCounters(first, k), i32x4.splat(k0 >> 1));
        if (side == 0) {
          const out = column + <usize>(first / 4) * lineBytes;
          packGroupA(out, values, panel, stochastic, key0, key1, pairs);
        } else {
          const out = column + <usize>(first / 8) * lineBytes;
          packGroupB(out, <usize>(first & 4), values, panel, stochastic, key0, key1, pairs);
        }
      }
    }
  }
}

/** (row · k) / 2 for four rows. */
// @ts-ignore: decorator
@inline
function rowCounters(first: i32, k: i32): v128 {
  const half = k >> 1;
  return i32x4.add(i32x4.splat(first * half), i32x4.mul(i32x4(0, 1, 2, 3), i32x4.splat(half)));
}

/** `length` k of up to four strips to the scratch; rows past the last are zero. */
function gather(
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
  if (length == GROUP) return;
  for (let strip = 0; strip < strips; strip++) {
    memory.fill(scratch + <usize>strip * STRIP_BYTES + BLOCK_BYTES, 0, BLOCK_BYTES);
  }
}

/** How many of the strips from `row` have all their four rows. */
// @ts-ignore: decorator
@inline
function wholeStrips(row: i32, rows: i32, strips: i32): i32 {
  return min(strips, max(0, (rows - row) >> 2));
}

/** `length` k of a strip with fewer than four rows. */
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

/** 64 k of up to four strips to the scratch, as H · diag(signs) · x. */
function rotateGroup(
  scratch: usize, source: usize, row: i32, rows: i32, strips: i32, k0: i32,
  rowStride: i32, kStride: i32, signs: usize,
): void {
  const rowBytes = <usize>rowStride << 2;
  const kBytes = <usize>kStride << 2;
  const whole = wholeStrips(row, rows, strips);
  // Eight k of all strips before the next eight: a power-of-two stride maps them to one cache set.
  for (let i = 0; i < GROUP; i += 8) {
    let from = source + <usize>row * rowBytes + <usize>(k0 + i) * kBytes;
    const sign = signs + (<usize>i << 2);
    let to = scratch + (<usize>i << 4);
    for (let strip = 0; strip < whole; strip++, to += STRIP_BYTES) {
      if (rowStride == 1) {
        rotateColumns(to, from, kBytes, sign);
        from += 16;
      } else {
        rotateRows(to, from, rowBytes, sign);
        from += rowBytes << 2;
      }
    }
  }
  for (let strip = whole; strip < strips; strip++) {
    const to = scratch + <usize>strip * STRIP_BYTES;
    gatherEdge(to, source, row + strip * STRIP_ROWS, rows, k0, GROUP, rowBytes, kBytes);
    for (let i: usize = 0; i < 64; i += 8) rotateColumns(to + (i << 4), to + (i << 4), 16, signs + (i << 2));
  }
  for (let strip = 0; strip < strips; strip++) rotateRest(scratch + <usize>strip * STRIP_BYTES);
}

/** Signs, then strides 1, 2, 4, over 8 vectors `kBytes` apart, each of four rows. */
// @ts-ignore: decorator
@inline
function rotateColumns(to: usize, from: usize, kBytes: usize, sign: usize): void {
  const a = f32x4.mul(v128.load(from), v128.load32_splat(sign));
  const b = f32x4.mul(v128.load(from + kBytes), v128.load32_splat(sign, 4));
  const c = f32x4.mul(v128.load(from + 2 * kBytes), v128.load32_splat(sign, 8));
  const d = f32x4.mul(v128.load(from + 3 * kBytes), v128.load32_splat(sign, 12));
  const e = f32x4.mul(v128.load(from + 4 * kBytes), v128.load32_splat(sign, 16));
  const f = f32x4.mul(v128.load(from + 5 * kBytes), v128.load32_splat(sign, 20));
  const g = f32x4.mul(v128.load(from + 6 * kBytes), v128.load32_splat(sign, 24));
  const h = f32x4.mul(v128.load(from + 7 * kBytes), v128.load32_splat(sign, 28));
  butterfly8(to, 16, 1, a, b, c, d, e, f, g, h);
}

/** The same over 8 k that are adjacent in each of four rows `rowBytes` apart. */
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
    to, 16, 1,
    i64x2.shuffle(s0, s2, 0, 2), i64x2.shuffle(s0, s2, 1, 3),
    i64x2.shuffle(s1, s3, 0, 2), i64x2.shuffle(s1, s3, 1, 3),
    i64x2.shuffle(s4, s6, 0, 2), i64x2.shuffle(s4, s6, 1, 3),
    i64x2.shuffle(s5, s7, 0, 2), i64x2.shuffle(s5, s7, 1, 3),
  );
}

/** Strides 8, 16, 32, then the norm 1/8, in place. */
function rotateRest(x: usize): void {
  const end = x + 128;
  for (; x < end; x += 16) {
    butterfly8(
      x, 128, 0.125,
      v128.load(x), v128.load(x, 128), v128.load(x, 256), v128.load(x, 384),
      v128.load(x, 512), v128.load(x, 640), v128.load(x, 768), v128.load(x, 896),
    );
  }
}

/** Three butterfly stages over 8 vectors, times `norm`, stored `stride` bytes apart. */
// @ts-ignore: decorator
@inline
function butterfly8(
  to: usize, stride: usize, norm: f32,
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
  storeScaled(to, f32x4.add(a, e), norm);
  storeScaled(to + stride, f32x4.add(b, f), norm);
  storeScaled(to + 2 * stride, f32x4.add(c, g), norm);
  storeScaled(to + 3 * stride, f32x4.add(d, h), norm);
  storeScaled(to + 4 * stride, f32x4.sub(a, e), norm);
  storeScaled(to + 5 * stride, f32x4.sub(b, f), norm);
  storeScaled(to + 6 * stride, f32x4.sub(c, g), norm);
  storeScaled(to + 7 * stride, f32x4.sub(d, h), norm);
}

// @ts-ignore: decorator
@inline
function storeScaled(at: usize, v: v128, norm: f32): void {
  v128.store(at, norm == 1 ? v : f32x4.mul(v, f32x4.splat(norm)));
}

/** One group of a strip of a: 16 units, the sums and the scales of its two blocks. */
// @ts-ignore: decorator
@inline
function packGroupA(
  out: usize, values: usize, header: usize, stochastic: i32, key0: u32, key1: u32, pairs: v128,
): void {
  chooseScales(values, header);
  const shared = sharedScales();
  for (let block: usize = 0; block < 2; block++) {
    const at = block << 4;
    const own = v128.load(CHOSEN + at);
    const units = out + (block << 7);
    const sums = quantizeBlock(
      units, UNIT_BYTES, 0, values + block * BLOCK_BYTES, own, shared, stochastic, key0, key1, pairs,
    );
    v128.store(out + A_SUMS + at, i32x4.mul(sums, i32x4.splat(-B_OFFSET)));
    v128.store(out + A_SCALES + at, i32x4.shl(i32x4.min_s(own, shared), 23));
    pairs = i32x4.add(pairs, i32x4.splat(16));
  }
}

/** One group of a strip of b; `half` is 0 for the first of its pair, 4 for the second. */
// @ts-ignore: decorator
@inline
function packGroupB(
  out: usize, half: usize, values: usize, header: usize, stochastic: i32, key0: u32, key1: u32,
  pairs: v128,
): void {
  chooseScales(values, header);
  const shared = sharedScales();
  for (let block: usize = 0; block < 2; block++) {
    const own = v128.load(CHOSEN + (block << 4));
    const units = out + (half << 2) + (block << 8);
    quantizeBlock(
      units, 2 * UNIT_BYTES, B_OFFSET, values + block * BLOCK_BYTES, own, shared,
      stochastic, key0, key1, pairs,
    );
    const bits = i32x4.shl(i32x4.sub(i32x4.min_s(own, shared), i32x4.splat(B_SCALE_BIAS)), 23);
    v128.store(out + B_SCALES + (half << 2) + (block << 5), bits);
    pairs = i32x4.add(pairs, i32x4.splat(16));
  }
}

/** The scale bytes of a group's two blocks, i32 [2, 4], between `chooseScales` and their use. */
// @ts-ignore: decorator
@inline const CHOSEN: usize = memory.data(32, 16);

/**
 * Scale bytes of both blocks, rule floor, to CHOSEN, and the header's range widened by them. A zero
 * block takes the other's scale, and 127 if both are zero: its products are zero at any scale.
 */
// @ts-ignore: decorator
@inline
function chooseScales(values: usize, header: usize): void {
  const top0 = blockTop(values);
  const top1 = blockTop(values + BLOCK_BYTES);
  const zero = i32x4.splat(0);
  const isZero0 = i32x4.eq(top0, zero);
  const isZero1 = i32x4.eq(top1, zero);
  const floor0 = v128.bitselect(i32x4.splat(E8M0_BIAS), floorScale(top0), isZero0);
  const floor1 = v128.bitselect(i32x4.splat(E8M0_BIAS), floorScale(top1), isZero1);
  const scale0 = v128.bitselect(floor1, floor0, isZero0);
  const scale1 = v128.bitselect(floor0, floor1, isZero1);
  v128.store(header, i32x4.min_s(v128.load(header), i32x4.min_s(scale0, scale1)));
  v128.store(header, i32x4.max_s(v128.load(header, 16), i32x4.max_s(scale0, scale1)), 16);
  v128.store(CHOSEN, scale0);
  v128.store(CHOSEN, scale1, 16);
}

/** The smaller scale of each row, if all rows' two scales are within one; else 255, above any. */
// @ts-ignore: decorator
@inline
function sharedScales(): v128 {
  const scale0 = v128.load(CHOSEN);
  const scale1 = v128.load(CHOSEN, 16);
  const apart = i32x4.abs(i32x4.sub(scale0, scale1));
  const isShared = !v128.any_true(i32x4.gt_s(apart, i32x4.splat(1)));
  return isShared ? i32x4.min_s(scale0, scale1) : i32x4.splat(E8M0_NAN);
}

/** Largest magnitude bits of 32 vectors, by lane. NaN sorts above infinity. */
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

/** Scale bytes, rule floor, of blocks whose largest magnitudes have these bits, in i32 lanes. */
// @ts-ignore: decorator
@inline
function floorScale(top: v128): v128 {
  const exponent = i32x4.shr_u(top, 23);
  const finite = i32x4.max_s(i32x4.sub(exponent, i32x4.splat(E2M1_EMAX)), i32x4.splat(0));
  return v128.bitselect(exponent, finite, i32x4.eq(exponent, i32x4.splat(E8M0_NAN)));
}

/** Lift the rows whose scale is very small, in the scratch; gives back the scales to divide by. */
// @ts-ignore: decorator
@inline
function lift(from: usize, scale: v128): v128 {
  const low = i32x4.lt_s(scale, i32x4.splat(LIFT_BELOW));
  if (!v128.any_true(low)) return scale;
  const exponent = v128.and(low, i32x4.splat(LIFT_EXPONENT));
  const factor = i32x4.shl(i32x4.add(exponent, i32x4.splat(127)), 23);
  for (let i: usize = 0; i < BLOCK_BYTES; i += 16) {
    v128.store(from + i, f32x4.mul(v128.load(from + i), factor));
  }
  return i32x4.add(scale, exponent);
}

/**
 * The 8 units of one block, `stride` bytes apart, plus `offset`; gives back the sums of each row's
 * integers (before the offset). Rows whose own scale is above the shared one are doubled.
 */
// @ts-ignore: decorator
@inline
function quantizeBlock(
  out: usize, stride: usize, offset: i32, from: usize, own: v128, shared: v128,
  stochastic: i32, key0: u32, key1: u32, pairs: v128,
): v128 {
  const scale = lift(from, own);
  const doubled = i32x4.gt_s(own, shared);
  let sums = i16x8.splat(0);
  if (stochastic) {
    // 3/4 · 4096 / 2^(scale − 127): 1.5 · 2^(11 + 127 − scale)
    const factor = v128.or(
      i32x4.shl(i32x4.sub(i32x4.splat(265), scale), 23),
      i32x4.splat(0x400000),
    );
    const keys0 = i32x4.splat(key0);
    const keys1 = i32x4.splat(key1);
    for (let unit = 0; unit < BLOCK_UNITS; unit++, from += 64, out += stride) {
      const codes = stochasticUnit(from, factor, keys0, keys1, pairs);
      sums = storeUnit(out, codes, doubled, offset, sums);
      pairs = i32x4.add(pairs, v128.load(TWOS));
    }
  } else {
    // 2 / 2^(scale − 127)
    const factor = i32x4.shl(i32x4.sub(i32x4.splat(255), scale), 23);
    for (let unit = 0; unit < BLOCK_UNITS; unit++, from += 64, out += stride) {
      sums = storeUnit(out, nearestUnit(from, factor), doubled, offset, sums);
    }
  }
  return i32x4.extadd_pairwise_i16x8_s(sums);
}

/** One unit, some of its rows doubled, plus the offset, to `out`; gives back the sums so far. */
// @ts-ignore: decorator
@inline
function storeUnit(out: usize, codes: v128, doubled: v128, offset: i32, sums: v128): v128 {
  const integers = i8x16.add(codes, v128.and(codes, doubled));
  v128.store(out, offset ? i8x16.add(integers, v128.load(OFFSETS)) : integers);
  return i16x8.add(sums, i16x8.extadd_pairwise_i8x16_s(integers));
}

/**
 * Four vectors along k, stochastically rounded: docs/randomness.md, on two pairs of k at once. From
 * the halves on, the bytes of a 32-bit lane are k 0, 2, 1, 3. Swizzle and select are the relaxed ones,
 * for one instruction each; with indices below 16 and masks of whole bytes they are exact.
 */
// @ts-ignore: decorator
@inline
function stochasticUnit(from: usize, factor: v128, key0: v128, key1: v128, pairs: v128): v128 {
  const grid01 = gridPair(v128.load(from), v128.load(from, 16), factor);
  const grid23 = gridPair(v128.load(from, 32), v128.load(from, 48), factor);
  const noise01 = noise4(key0, key1, pairs);
  const noise23 = noise4(key0, key1, i32x4.add(pairs, v128.load(ONES)));
  const dither = v128.load(DITHER_MASK);
  const sum01 = i16x8.add(i16x8.abs(grid01), v128.and(noise01, dither));
  const sum23 = i16x8.add(i16x8.abs(grid23), v128.and(noise23, dither));
  // Shifted by 11 to the low byte, or by 3, which leaves the same in the high byte.
  const halves = interleaveBytes(i16x8.shr_u(sum01, 11), i16x8.shr_u(sum23, 3));
  const coarse = interleaveBytes(i16x8.shr_u(noise01, 11), i16x8.shr_u(noise23, 3));
  const fine = i8x16.relaxed_swizzle(v128.load(BELOW_STEP), halves);
  const magnitude = v128.andnot(i8x16.add(halves, v128.and(coarse, fine)), fine);
  const negative = interleaveBytes(i16x8.shr_s(grid01, 15), i16x8.shr_s(grid23, 15));
  return i8x16.sub(v128.xor(magnitude, negative), negative);
}

/** Low bytes of the i16 lanes of `even`, high bytes of those of `odd`. */
// @ts-ignore: decorator
@inline
function interleaveBytes(even: v128, odd: v128): v128 {
  return i8x16.relaxed_laneselect(even, odd, v128.load(EVEN_BYTES));
}

/** x · factor of two vectors, to the nearest integer: i16 lanes x0, x1 alternating. */
// @ts-ignore: decorator
@inline
function gridPair(x0: v128, x1: v128, factor: v128): v128 {
  return lowHalves(
    f32x4.add(f32x4.mul(x0, factor), v128.load(ROUND_F32)),
    f32x4.add(f32x4.mul(x1, factor), v128.load(ROUND_F32)),
  );
}

/** The low 16 bits of each 32-bit lane, those of a and b alternating. */
// @ts-ignore: decorator
@inline
function lowHalves(a: v128, b: v128): v128 {
  return i16x8.shuffle(a, i32x4.shl(b, 16), 0, 9, 2, 11, 4, 13, 6, 15);
}

/** Four vectors along k to nearest even, in twice their value. */
// @ts-ignore: decorator
@inline
function nearestUnit(from: usize, factor: v128): v128 {
  const doubled01 = lowHalves(
    nearestDoubled(v128.load(from), factor),
    nearestDoubled(v128.load(from, 16), factor),
  );
  const doubled23 = lowHalves(
    nearestDoubled(v128.load(from, 32), factor),
    nearestDoubled(v128.load(from, 48), factor),
  );
  return interleaveBytes(doubled01, i16x8.shl(doubled23, 8));
}

/**
 * 2 · (nearest E2M1 of x / scale), as an integer in the low bits of an f32. E2M1's step is 1 below 4
 * (doubled), 2 below 8, then 4; a value that rounds up to 4 or 8 is the same from either side. To
 * round to a step, ties to even, is to add and take away a number whose last bit is the step.
 */
// @ts-ignore: decorator
@inline
function nearestDoubled(x: v128, factor: v128): v128 {
  const v = f32x4.mul(x, factor);
  const magnitude = f32x4.abs(v);
  // The step's 1.5 · 2^23: ROUND with the exponent of the magnitude, of 2 below 4 and of 8 from 8 on.
  const exponent = v128.and(
    i32x4.min_s(i32x4.max_s(magnitude, v128.load(TWO_F32)), v128.load(EIGHT_F32)),
    v128.load(EXPONENT_BITS),
  );
  const magic = i32x4.add(exponent, v128.load(ROUND_LESS_TWO));
  const rounded = f32x4.sub(f32x4.add(v, magic), magic);
  // pmin and pmax are one instruction; min and max, which care for −0 and NaN, are several.
  const clamped = f32x4.pmax(
    f32x4.pmin(rounded, v128.load(TWELVE_F32)),
    v128.load(MINUS_TWELVE_F32),
  );
  return f32x4.add(clamped, v128.load(ROUND_F32));
}
