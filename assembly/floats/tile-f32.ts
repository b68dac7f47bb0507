/**
 * The register tiles of gemm-f32.ts: 4 or 8 rows of a by 8 rows of b, a chain of multiply-adds in order of k for each sum.
 */

/** Rows of a in a tile. */
// @ts-ignore: decorator
@inline export const A_WIDTH: i32 = 4;
/** Rows of b, columns of out, in a tile. */
// @ts-ignore: decorator
@inline export const B_WIDTH: i32 = 8;
/** Zeros, the default initial sums of a tile. */
// @ts-ignore: decorator
@inline export const ZEROS: usize = memory.data<f32>([0, 0, 0, 0, 0, 0, 0, 0], 16);

/**
 * out = from + a strip · b stripᵀ: 4 × 8 sums in registers. Rows of out are `rowBytes` apart, those of `from`
 * `fromBytes`; `from` may be out, or one row for all (`fromBytes` 0).
 */
export function multiplyTile(
  out: usize,
  rowBytes: usize,
  from: usize,
  fromBytes: usize,
  a: usize,
  b: usize,
  k: i32,
): void {
  const out1 = out + rowBytes;
  const out2 = out1 + rowBytes;
  const out3 = out2 + rowBytes;
  const from1 = from + fromBytes;
  const from2 = from1 + fromBytes;
  const from3 = from2 + fromBytes;
  let c00 = v128.load(from);
  let c01 = v128.load(from, 16);
  let c10 = v128.load(from1);
  let c11 = v128.load(from1, 16);
  let c20 = v128.load(from2);
  let c21 = v128.load(from2, 16);
  let c30 = v128.load(from3);
  let c31 = v128.load(from3, 16);
  for (const end = a + (<usize>k << 4); a < end; a += 16, b += 32) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a0123 = v128.load(a);
    const a0 = v128.shuffle<f32>(a0123, a0123, 0, 0, 0, 0);
    c00 = f32x4.relaxed_madd(a0, b0, c00);
    c01 = f32x4.relaxed_madd(a0, b1, c01);
    const a1 = v128.shuffle<f32>(a0123, a0123, 1, 1, 1, 1);
    c10 = f32x4.relaxed_madd(a1, b0, c10);
    c11 = f32x4.relaxed_madd(a1, b1, c11);
    const a2 = v128.shuffle<f32>(a0123, a0123, 2, 2, 2, 2);
    c20 = f32x4.relaxed_madd(a2, b0, c20);
    c21 = f32x4.relaxed_madd(a2, b1, c21);
    const a3 = v128.shuffle<f32>(a0123, a0123, 3, 3, 3, 3);
    c30 = f32x4.relaxed_madd(a3, b0, c30);
    c31 = f32x4.relaxed_madd(a3, b1, c31);
  }
  v128.store(out, c00);
  v128.store(out, c01, 16);
  v128.store(out1, c10);
  v128.store(out1, c11, 16);
  v128.store(out2, c20);
  v128.store(out2, c21, 16);
  v128.store(out3, c30);
  v128.store(out3, c31, 16);
}

/** The same for two strips of a: 8 × 8 sums, as many chains as two 256-bit units need to be busy. */
export function multiplyTallTile(
  out: usize,
  rowBytes: usize,
  from: usize,
  fromBytes: usize,
  a: usize, secondA: usize,
  b: usize,
  k: i32,
): void {
  const out1 = out + rowBytes;
  const out2 = out1 + rowBytes;
  const out3 = out2 + rowBytes;
  const out4 = out3 + rowBytes;
  const out5 = out4 + rowBytes;
  const out6 = out5 + rowBytes;
  const out7 = out6 + rowBytes;
  const from1 = from + fromBytes;
  const from2 = from1 + fromBytes;
  const from3 = from2 + fromBytes;
  const from4 = from3 + fromBytes;
  const from5 = from4 + fromBytes;
  const from6 = from5 + fromBytes;
  const from7 = from6 + fromBytes;
  let c00 = v128.load(from);
  let c01 = v128.load(from, 16);
  let c10 = v128.load(from1);
  let c11 = v128.load(from1, 16);
  let c20 = v128.load(from2);
  let c21 = v128.load(from2, 16);
  let c30 = v128.load(from3);
  let c31 = v128.load(from3, 16);
  let c40 = v128.load(from4);
  let c41 = v128.load(from4, 16);
  let c50 = v128.load(from5);
  let c51 = v128.load(from5, 16);
  let c60 = v128.load(from6);
  let c61 = v128.load(from6, 16);
  let c70 = v128.load(from7);
  let c71 = v128.load(from7, 16);
  for (const end = a + (<usize>k << 4); a < end; a += 16, secondA += 16, b += 32) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a0123 = v128.load(a);
    const a0 = v128.shuffle<f32>(a0123, a0123, 0, 0, 0, 0);
    c00 = f32x4.relaxed_madd(a0, b0, c00);
    c01 = f32x4.relaxed_madd(a0, b1, c01);
    const a1 = v128.shuffle<f32>(a0123, a0123, 1, 1, 1, 1);
    c10 = f32x4.relaxed_madd(a1, b0, c10);
    c11 = f32x4.relaxed_madd(a1, b1, c11);
    const a2 = v128.shuffle<f32>(a0123, a0123, 2, 2, 2, 2);
    c20 = f32x4.relaxed_madd(a2, b0, c20);
    c21 = f32x4.relaxed_madd(a2, b1, c21);
    const a3 = v128.shuffle<f32>(a0123, a0123, 3, 3, 3, 3);
    c30 = f32x4.relaxed_madd(a3, b0, c30);
    c31 = f32x4.relaxed_madd(a3, b1, c31);
    const a4567 = v128.load(secondA);
    const a4 = v128.shuffle<f32>(a4567, a4567, 0, 0, 0, 0);
    c40 = f32x4.relaxed_madd(a4, b0, c40);
    c41 = f32x4.relaxed_madd(a4, b1, c41);
    const a5 = v128.shuffle<f32>(a4567, a4567, 1, 1, 1, 1);
    c50 = f32x4.relaxed_madd(a5, b0, c50);
    c51 = f32x4.relaxed_madd(a5, b1, c51);
    const a6 = v128.shuffle<f32>(a4567, a4567, 2, 2, 2, 2);
    c60 = f32x4.relaxed_madd(a6, b0, c60);
    c61 = f32x4.relaxed_madd(a6, b1, c61);
    const a7 = v128.shuffle<f32>(a4567, a4567, 3, 3, 3, 3);
    c70 = f32x4.relaxed_madd(a7, b0, c70);
    c71 = f32x4.relaxed_madd(a7, b1, c71);
  }
  v128.store(out, c00);
  v128.store(out, c01, 16);
  v128.store(out1, c10);
  v128.store(out1, c11, 16);
  v128.store(out2, c20);
  v128.store(out2, c21, 16);
  v128.store(out3, c30);
  v128.store(out3, c31, 16);
  v128.store(out4, c40);
  v128.store(out4, c41, 16);
  v128.store(out5, c50);
  v128.store(out5, c51, 16);
  v128.store(out6, c60);
  v128.store(out6, c61, 16);
  v128.store(out7, c70);
  v128.store(out7, c71, 16);
}
