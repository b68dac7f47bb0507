/** f32 values of f64, to nearest, ties to even. out f32 [length]; x f64 [length]. */
export function narrowF64(out: usize, x: usize, length: i32): void {
  const end = x + (<usize>length << 3);
  const vectorEnd = x + (<usize>(length & ~3) << 3);
  for (; x < vectorEnd; x += 32, out += 16) {
    const low = f32x4.demote_f64x2_zero(v128.load(x));
    const high = f32x4.demote_f64x2_zero(v128.load(x, 16));
    v128.store(out, i64x2.shuffle(low, high, 0, 2));
  }
  for (; x < end; x += 8, out += 4) store<f32>(out, <f32>load<f64>(x));
}
