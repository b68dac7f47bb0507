import { BLOCK_BYTES, BLOCK_SIZE, E8M0_NAN } from "./constants";
import { doubledValues, evenCodes, oddCodes } from "./e2m1";

/** Scale bytes stand for 2^(byte − 127); doubling both elements takes away another 2^2. */
// @ts-ignore: decorator
@inline const SCALE_SUM_BIAS: i32 = 127 + 127 + 2;

/**
 * out = factor · a · bᵀ with both operands in MXFP4.
 *
 *   out[i, j] = factor · Σ over blocks of (Σ a·b, exact in integers) · 2^(scale a + scale b − 254)
 *
 * The blocks of one output are added in f32 in order of k, so its bits depend on nothing else. A
 * block of scale 255 makes the result NaN; magnitudes beyond f32 saturate to ±infinity or to 0.
 *
 * Shapes:   out f32 [m, n]; a elements u8 [m, k / 2], scales u8 [m, k / 32]; b likewise [n, …]
 * Requires: k % 32 == 0
 * Source:   OCP MX v1.0 §6.1 (dot product of two MX vectors)
 */
export function gemmMxfp4(
  out: usize, aElements: usize, aScales: usize, bElements: usize, bScales: usize,
  m: i32, n: i32, k: i32, factor: f32,
): void {
  assert(k % BLOCK_SIZE == 0, "k must be a multiple of 32");

  const rowBytes = <usize>k >> 1;
  const rowScales = <usize>k >> 5;
  for (let j = 0; j < n; j += 4) {
    // Four columns at a time; past the last one its row is read again and the result dropped.
    const j1 = min(j + 1, n - 1);
    const j2 = min(j + 2, n - 1);
    const j3 = min(j + 3, n - 1);
    const b0 = bElements + <usize>j * rowBytes;
    const b1 = bElements + <usize>j1 * rowBytes;
    const b2 = bElements + <usize>j2 * rowBytes;
    const b3 = bElements + <usize>j3 * rowBytes;
    const s0 = bScales + <usize>j * rowScales;
    const s1 = bScales + <usize>j1 * rowScales;
    const s2 = bScales + <usize>j2 * rowScales;
    const s3 = bScales + <usize>j3 * rowScales;

    for (let i = 0; i < m; i++) {
      const a = aElements + <usize>i * rowBytes;
      const sa = aScales + <usize>i * rowScales;
      let sum = f32x4.splat(0);
      for (let block: usize = 0; block < rowScales; block++) {
        const at = block * BLOCK_BYTES;
        const packed = v128.load(a + at);
        const even = doubledValues(evenCodes(packed));
        const odd = doubledValues(oddCodes(packed));
        const dots = addLanes(
          dotBlock(even, odd, b0 + at),
          dotBlock(even, odd, b1 + at),
          dotBlock(even, odd, b2 + at),
          dotBlock(even, odd, b3 + at),
        );
        const scaleA = <i32>load<u8>(sa + block);
        const scaleB = i32x4(
          load<u8>(s0 + block), load<u8>(s1 + block), load<u8>(s2 + block), load<u8>(s3 + block),
        );
        sum = f32x4.add(sum, scaleDots(f32x4.convert_i32x4_s(dots), scaleA, scaleB));
      }
      sum = f32x4.mul(sum, f32x4.splat(factor));
      storeLanes(out + ((<usize>i * n + j) << 2), sum, min(4, n - j));
    }
  }
}

/** Dot product of one block, spread over four i32 lanes. At most 32 · 144 in magnitude. */
// @ts-ignore: decorator
@inline
function dotBlock(aEven: v128, aOdd: v128, b: usize): v128 {
  const packed = v128.load(b);
  const bEven = doubledValues(evenCodes(packed));
  const bOdd = doubledValues(oddCodes(packed));
  const low = i16x8.add(
    i16x8.extmul_low_i8x16_s(aEven, bEven),
    i16x8.extmul_low_i8x16_s(aOdd, bOdd),
  );
  const high = i16x8.add(
    i16x8.extmul_high_i8x16_s(aEven, bEven),
    i16x8.extmul_high_i8x16_s(aOdd, bOdd),
  );
  return i32x4.extadd_pairwise_i16x8_s(i16x8.add(low, high));
}

/** [Σ lanes of a, Σ lanes of b, Σ lanes of c, Σ lanes of d] */
// @ts-ignore: decorator
@inline
function addLanes(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(i32x4.shuffle(a, b, 0, 4, 1, 5), i32x4.shuffle(a, b, 2, 6, 3, 7));
  const cd = i32x4.add(i32x4.shuffle(c, d, 0, 4, 1, 5), i32x4.shuffle(c, d, 2, 6, 3, 7));
  return i32x4.add(i64x2.shuffle(ab, cd, 0, 2), i64x2.shuffle(ab, cd, 1, 3));
}

/**
 * Dots times 2^(scale a + scale b − 256); NaN where a scale is 255. The exponent is applied in two
 * factors that f32 has, so that a sum beyond its range saturates instead of wrapping.
 */
// @ts-ignore: decorator
@inline
function scaleDots(dots: v128, scaleA: i32, scaleB: v128): v128 {
  const exponent = i32x4.add(scaleB, i32x4.splat(scaleA - SCALE_SUM_BIAS));
  const first = i32x4.min_s(i32x4.max_s(exponent, i32x4.splat(-126)), i32x4.splat(127));
  const rest = i32x4.max_s(i32x4.sub(exponent, first), i32x4.splat(-126));
  const scaled = f32x4.mul(f32x4.mul(dots, powerOfTwo(first)), powerOfTwo(rest));
  const isNaN = v128.or(
    i32x4.eq(scaleB, i32x4.splat(E8M0_NAN)),
    i32x4.splat(scaleA == E8M0_NAN ? -1 : 0),
  );
  return v128.or(scaled, isNaN); // all bits set is a NaN
}

/** 2^exponent for exponents −126 … 127, in f32 lanes. */
// @ts-ignore: decorator
@inline
function powerOfTwo(exponent: v128): v128 {
  return i32x4.shl(i32x4.add(exponent, i32x4.splat(127)), 23);
}

// @ts-ignore: decorator
@inline
function storeLanes(out: usize, values: v128, count: i32): void {
  if (count == 4) {
    v128.store(out, values);
    return;
  }
  store<f32>(out, f32x4.extract_lane(values, 0));
  if (count > 1) store<f32>(out, f32x4.extract_lane(values, 1), 4);
  if (count > 2) store<f32>(out, f32x4.extract_lane(values, 2), 8);
}
