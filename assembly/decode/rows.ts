/** Stores eight f32 to `out`, or the first `count` of them. */
// @ts-ignore: decorator
@inline
export function storeUpTo8(out: usize, low: v128, high: v128, count: i32): void {
  if (count >= 8) {
    v128.store(out, low);
    v128.store(out, high, 16);
    return;
  }
  store<f32>(out, f32x4.extract_lane(low, 0));
  if (count > 1) store<f32>(out, f32x4.extract_lane(low, 1), 4);
  if (count > 2) store<f32>(out, f32x4.extract_lane(low, 2), 8);
  if (count > 3) store<f32>(out, f32x4.extract_lane(low, 3), 12);
  if (count > 4) store<f32>(out, f32x4.extract_lane(high, 0), 16);
  if (count > 5) store<f32>(out, f32x4.extract_lane(high, 1), 20);
  if (count > 6) store<f32>(out, f32x4.extract_lane(high, 2), 24);
}
