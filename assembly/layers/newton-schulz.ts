/**
 * One step of the Newton–Schulz iteration, except its three products:
 *
 *   A = X · Xᵀ;  X ← a · X + (b · A + c · A²) · X
 *
 * The closer X is to orthogonal, the more of A and of the polynomial lies on the diagonal. So the diagonal is kept in
 * f32, separate from the products, which can then use few bits: with A = A' + diag(d),
 *
 *   (A²)ij = (A'²)ij + (di + dj) · A'ij  off the diagonal,  (A'²)ii + di²  on it
 *
 * The diagonal of the polynomial becomes a factor of each row of X (`gemmOntoInt6`). Multiplications and additions
 * are never fused: the same bits on every machine.
 */

/**
 * Moves the diagonal of `a` to `diagonal`, and replaces it with zeros.
 *
 * Shapes:   diagonal f32 [n]; a f32 [n, n]
 */
export function splitDiagonalF32(diagonal: usize, a: usize, n: i32): void {
  const step = (<usize>n + 1) << 2;
  for (const end = diagonal + (<usize>n << 2); diagonal < end; diagonal += 4, a += step) {
    store<f32>(diagonal, load<f32>(a));
    store<f32>(a, 0);
  }
}

/**
 * The polynomial of a matrix whose diagonal was split off: off the diagonal in place of `a`; the diagonal, including
 * the factor of X itself, in place of `diagonal`.
 *
 *   a'ij = b · aij + c · (squareij + (di + dj) · aij), a'ii = 0;  d'i = factor + b · di + c · (squareii + di²)
 *
 * Shapes:   a, square f32 [n, n], square = a · a; diagonal f32 [n]; 16-byte aligned
 * Requires: n % 4 == 0
 */
export function newtonSchulzF32(
  a: usize, square: usize, diagonal: usize, n: i32, factor: f32, b: f32, c: f32,
): void {
  assert(n % 4 == 0, "n must be a multiple of 4");

  const rowBytes = <usize>n << 2;
  const bs = f32x4.splat(b);
  const cs = f32x4.splat(c);
  for (let row = 0; row < n; row++, a += rowBytes, square += rowBytes) {
    const di = v128.load32_splat(diagonal + (<usize>row << 2));
    for (let at: usize = 0; at < rowBytes; at += 16) {
      const value = v128.load(a + at);
      const sum = f32x4.add(di, v128.load(diagonal + at));
      const squared = f32x4.add(v128.load(square + at), f32x4.mul(sum, value));
      v128.store(a + at, f32x4.add(f32x4.mul(bs, value), f32x4.mul(cs, squared)));
    }
  }
  // After all rows have used the old diagonal; `a` and `square` now point past their last row.
  const step = (<usize>n + 1) << 2;
  a -= <usize>n * rowBytes;
  square -= <usize>n * rowBytes;
  for (const end = diagonal + rowBytes; diagonal < end; diagonal += 4, a += step, square += step) {
    const d = load<f32>(diagonal);
    store<f32>(diagonal, factor + b * d + c * (load<f32>(square) + d * d));
    store<f32>(a, 0);
  }
}
