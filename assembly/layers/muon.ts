/**
 * What Muon does to a matrix elementwise, before and after it is orthogonalized. Multiplications and
 * additions round one by one, never fused: the same on every machine.
 *
 * Source: Jordan et al., Muon (2024)
 */

/**
 * Nesterov's momentum, in place, and the direction that follows from it.
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
 * out = a · out + b · x, in place.
 *
 * Shapes:   out, x f32 [length]
 * Requires: length % 4 == 0
 */
export function blendF32(out: usize, x: usize, length: i32, a: f32, b: f32): void {
  assert(length % 4 == 0, "length must be a multiple of 4");

  const as = f32x4.splat(a);
  const bs = f32x4.splat(b);
  for (const end = out + (<usize>length << 2); out < end; out += 16, x += 16) {
    v128.store(out, f32x4.add(f32x4.mul(as, v128.load(out)), f32x4.mul(bs, v128.load(x))));
  }
}
