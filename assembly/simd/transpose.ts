/** f32 in a cache line. */
// @ts-ignore: decorator
@inline const LINE_ROWS: i32 = 16;

/**
 * out[j, i] = source[i, j].
 *
 * Shapes:   out f32 [columns, rows]; source f32 [rows, columns]; they do not overlap
 */
export function transposeF32(out: usize, source: usize, rows: i32, columns: i32): void {
  assert(rows >= 0 && columns >= 0, "sizes must not be negative");

  const outStride = <usize>rows << 2;
  const sourceStride = <usize>columns << 2;
  const wholeRows = rows & ~3;
  const wholeColumns = columns & ~3;
  // 16 rows at a time write whole cache lines: rows of `out` that are a power of two apart share few cache sets.
  for (let line = 0; line < wholeRows; line += LINE_ROWS) {
    const end = min(line + LINE_ROWS, wholeRows);
    for (let j = 0; j < wholeColumns; j += 4) {
      for (let i = line; i < end; i += 4) {
        const from = source + <usize>i * sourceStride + (<usize>j << 2);
        const to = out + <usize>j * outStride + (<usize>i << 2);
        transposeTile(to, outStride, from, sourceStride);
      }
    }
  }
  // The right edge, then the bottom edge.
  for (let i = 0; i < rows; i++) {
    const first = i < wholeRows ? wholeColumns : 0;
    for (let j = first; j < columns; j++) {
      const value = load<f32>(source + <usize>i * sourceStride + (<usize>j << 2));
      store<f32>(out + <usize>j * outStride + (<usize>i << 2), value);
    }
  }
}

/** A 4 × 4 tile of f32; strides in bytes. */
// @ts-ignore: decorator
@inline
export function transposeTile(
  out: usize,
  outStride: usize,
  source: usize,
  sourceStride: usize,
): void {
  storeTransposed(
    out, outStride, v128.load(source), v128.load(source + sourceStride),
    v128.load(source + 2 * sourceStride), v128.load(source + 3 * sourceStride),
  );
}

/** The transpose of four rows of four f32; `outStride` in bytes. */
// @ts-ignore: decorator
@inline
export function storeTransposed(
  out: usize, outStride: usize, r0: v128, r1: v128, r2: v128, r3: v128,
): void {
  // [a0 b0 a1 b1], [a2 b2 a3 b3] of rows a, b; then pairs of rows side by side.
  const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<f64>(low01, low23, 0, 2));
  v128.store(out + outStride, v128.shuffle<f64>(low01, low23, 1, 3));
  v128.store(out + 2 * outStride, v128.shuffle<f64>(high01, high23, 0, 2));
  v128.store(out + 3 * outStride, v128.shuffle<f64>(high01, high23, 1, 3));
}
