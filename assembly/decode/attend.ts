import { expF32 } from "../simd/exp";
import { loadPartial, storePartial, sumLanes } from "../simd/lanes";

/**
 * Causal attention of new tokens over the cached positions before them and over themselves; neighbouring heads share
 * keys and values in `groups`.
 *
 *   out[t, h] = Σ_s softmax_s(q[t, h] · keys[s, g] · scale) · values[s, g],  s ≤ first + t,  g = h · groups / heads
 *
 * Shapes:   out f32 [tokens, heads · D], rows `outStride` apart; q likewise, `qStride`; keys, values f32
 *           [positions, groups · D]; scores f32 [first + tokens]
 */
export function attendF32(
  out: usize, outStride: i32, q: usize, qStride: i32, keys: usize, values: usize, scores: usize,
  first: i32, tokens: i32, heads: i32, groups: i32, headWidth: i32, scale: f32,
): void {
  assert(heads % groups == 0, "heads must be a multiple of groups");

  const cacheBytes = <usize>(groups * headWidth) << 2;
  const headBytes = <usize>headWidth << 2;
  for (let token = 0; token < tokens; token++) {
    const positions = first + token + 1;
    for (let head = 0; head < heads; head++) {
      const query = q + (<usize>token * <usize>qStride << 2) + <usize>head * headBytes;
      const group = <usize>(head * groups / heads) * headBytes;
      let largest: f32 = -Infinity;
      let key = keys + group;
      for (let s = 0; s < positions; s++, key += cacheBytes) {
        const score: f32 = dot(query, key, headWidth) * scale;
        store<f32>(scores + (<usize>s << 2), score);
        largest = max<f32>(largest, score);
      }
      for (let s = 0; s < positions; s++) {
        const at = scores + (<usize>s << 2);
        store<f32>(at, load<f32>(at) - largest);
      }
      expF32(scores, scores, positions);
      let total: f32 = 0;
      for (let s = 0; s < positions; s++) total += load<f32>(scores + (<usize>s << 2));
      const to = out + (<usize>token * <usize>outStride << 2) + <usize>head * headBytes;
      mix(to, scores, values + group, cacheBytes, positions, headWidth, 1 / total);
    }
  }
}

// @ts-ignore: decorator
@inline
function dot(a: usize, b: usize, length: i32): f32 {
  let sums = f32x4.splat(0);
  const end = a + (<usize>(length & ~3) << 2);
  for (; a < end; a += 16, b += 16) sums = f32x4.add(sums, f32x4.mul(v128.load(a), v128.load(b)));
  const rest = length & 3;
  if (rest > 0) sums = f32x4.add(sums, f32x4.mul(loadPartial(a, rest, 0), loadPartial(b, rest, 0)));
  return sumLanes(sums);
}

/** out = factor · Σ weights[s] · values[s] */
// @ts-ignore: decorator
@inline
function mix(out: usize, weights: usize, values: usize, stride: usize, positions: i32, length: i32, factor: f32): void {
  for (let i = 0; i < length; i += 4) {
    const count = min(length - i, 4);
    let sums = f32x4.splat(0);
    let value = values + (<usize>i << 2);
    for (let s = 0; s < positions; s++, value += stride) {
      const v = count == 4 ? v128.load(value) : loadPartial(value, count, 0);
      sums = f32x4.add(sums, f32x4.mul(v128.load32_splat(weights + (<usize>s << 2)), v));
    }
    sums = f32x4.mul(sums, f32x4.splat(factor));
    if (count == 4) v128.store(out + (<usize>i << 2), sums);
    else storePartial(out + (<usize>i << 2), sums, count);
  }
}
