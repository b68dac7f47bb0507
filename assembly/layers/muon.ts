/**
 * Muon's elementwise operations on a matrix, before and after it is orthogonalized. Multiplications and additions are
 * never fused: the same bits on every machine.
 *
 * Source: Jordan et al., Muon (2024)
 */

/**
 * Nesterov momentum, in place, and the resulting direction.
 *
 *   m = momentum · m + gradient;  direction = gradient + momentum · m
 *
 * Shapes:   direction, m, gradient f32 [length]
 * Requires: length % 4 == 0
 */
export function nesterovF32(
  direction: usize, m: usize, gradient: usize, length: i32, momentum: f32,
): void {
  assert(length % 4 == 0, "length must be a multiple of 4");

  const keep = f32x4.splat(momentum);
  for (const end = m + (<usize>length << 2); m < end; m += 16, direction += 16, gradient += 16) {
    const g = v128.load(gradient);
    const next = f32x4.add(f32x4.mul(keep, v128.load(m)), g);
    v128.store(m, next);
    v128.store(direction, f32x4.add(g, f32x4.mul(keep, next)));
  }
}

/**
 * Copies some columns of a matrix to a separate one.
 *
 * Shapes:   out f32 [rows, columns]; x f32, rows xStride elements apart
 * Requires: columns % 4 == 0
 */
export function copyColumnsF32(out: usize, x: usize, xStride: i32, rows: i32, columns: i32): void {
  assert(columns % 4 == 0, "columns must be a multiple of 4");

  const rowBytes = <usize>columns << 2;
  const between = (<usize>xStride << 2) - rowBytes;
  for (; rows > 0; rows--, x += between) {
    for (const end = out + rowBytes; out < end; out += 16, x += 16) v128.store(out, v128.load(x));
  }
}

/**
 * out = a · out + b · x, in place, for some columns of a matrix.
 *
 * Shapes:   out f32, rows outStride elements apart; x f32 [rows, columns]
 * Requires: columns % 4 == 0
 */
export function blendColumnsF32(
  out: usize, outStride: i32, x: usize, rows: i32, columns: i32, a: f32, b: f32,
): void {
  assert(columns % 4 == 0, "columns must be a multiple of 4");

  const as = f32x4.splat(a);
  const bs = f32x4.splat(b);
  const rowBytes = <usize>columns << 2;
  const between = (<usize>outStride << 2) - rowBytes;
  for (; rows > 0; rows--, out += between) {
    for (const end = x + rowBytes; x < end; out += 16, x += 16) {
      v128.store(out, f32x4.add(f32x4.mul(as, v128.load(out)), f32x4.mul(bs, v128.load(x))));
    }
  }
}
