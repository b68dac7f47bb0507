/** Constants, one v128 each, in memory: V8 rebuilds a v128 constant from immediates at each use. */
// @ts-ignore: decorator
@inline const MAGNITUDE: usize = memory.data<u32>([0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff], 16);

/**
 * The bits of the largest |x|, 0 if length is 0. As integers they are in order of magnitude: infinities above all
 * finite values, NaNs above infinities.
 *
 * Shapes:   x f32 [length]
 */
export function largestBitsF32(x: usize, length: i32): i32 {
  const end = x + (<usize>length << 2);
  const vectorEnd = x + (<usize>(length & ~15) << 2);
  const magnitude = v128.load(MAGNITUDE);
  let most0 = i32x4.splat(0);
  let most1 = i32x4.splat(0);
  for (; x < vectorEnd; x += 64) {
    most0 = i32x4.max_s(most0, v128.and(v128.load(x), magnitude));
    most1 = i32x4.max_s(most1, v128.and(v128.load(x, 16), magnitude));
    most0 = i32x4.max_s(most0, v128.and(v128.load(x, 32), magnitude));
    most1 = i32x4.max_s(most1, v128.and(v128.load(x, 48), magnitude));
  }
  most0 = i32x4.max_s(most0, most1);
  most0 = i32x4.max_s(most0, i32x4.shuffle(most0, most0, 2, 3, 0, 1));
  most0 = i32x4.max_s(most0, i32x4.shuffle(most0, most0, 1, 0, 3, 2));
  let most = i32x4.extract_lane(most0, 0);
  for (; x < end; x += 4) most = max(most, <i32>(load<u32>(x) & 0x7fffffff));
  return most;
}

/** The largest byte, 0 if length is 0. bytes u8 [length]. */
export function largestByte(bytes: usize, length: i32): i32 {
  const end = bytes + <usize>length;
  const vectorEnd = bytes + <usize>(length & ~15);
  let lanes = i8x16.splat(0);
  for (; bytes < vectorEnd; bytes += 16) lanes = i8x16.max_u(lanes, v128.load(bytes));
  let most: i32 = 0;
  if (v128.any_true(lanes)) {
    lanes = i8x16.max_u(lanes, i64x2.shuffle(lanes, lanes, 1, 0));
    lanes = i8x16.max_u(lanes, i32x4.shuffle(lanes, lanes, 1, 0, 3, 2));
    lanes = i8x16.max_u(lanes, i16x8.shuffle(lanes, lanes, 1, 0, 3, 2, 5, 4, 7, 6));
    most = max(<i32>i8x16.extract_lane_u(lanes, 0), <i32>i8x16.extract_lane_u(lanes, 1));
  }
  for (; bytes < end; bytes++) most = max(most, <i32>load<u8>(bytes));
  return most;
}
