/** Sum of the four f32 lanes, in the order (0 + 1) + (2 + 3). */
// @ts-ignore: decorator
@inline
export function sumLanes(v: v128): f32 {
  return (f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1))
    + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3));
}

/** Largest of the four f32 lanes; NaN if one is. */
// @ts-ignore: decorator
@inline
export function maxLanes(v: v128): f32 {
  return max<f32>(
    max<f32>(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)),
    max<f32>(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)),
  );
}

/** The first `count` (0 … 3) f32 at `source`, `fill` in the other lanes. */
// @ts-ignore: decorator
@inline
export function loadPartial(source: usize, count: i32, fill: f32): v128 {
  let v = f32x4.splat(fill);
  if (count > 0) v = f32x4.replace_lane(v, 0, load<f32>(source));
  if (count > 1) v = f32x4.replace_lane(v, 1, load<f32>(source, 4));
  if (count > 2) v = f32x4.replace_lane(v, 2, load<f32>(source, 8));
  return v;
}

/** Stores the first `count` (0 … 3) lanes of `v` to `target`. */
// @ts-ignore: decorator
@inline
export function storePartial(target: usize, v: v128, count: i32): void {
  if (count > 0) store<f32>(target, f32x4.extract_lane(v, 0));
  if (count > 1) store<f32>(target, f32x4.extract_lane(v, 1), 4);
  if (count > 2) store<f32>(target, f32x4.extract_lane(v, 2), 8);
}

/** Four f32 at `source`, or, if fewer are `left`, those, and 0 in the other lanes. */
// @ts-ignore: decorator
@inline
export function loadUpTo4(source: usize, left: i32): v128 {
  return left >= 4 ? v128.load(source) : loadPartial(source, left, 0);
}

/** Stores four lanes to `target`, or, if fewer are `left`, that many. */
// @ts-ignore: decorator
@inline
export function storeUpTo4(target: usize, v: v128, left: i32): void {
  if (left >= 4) v128.store(target, v);
  else storePartial(target, v, left);
}
