/**
 * Rotary position embedding, in place: rotates the pair of channels i and i + D / 2 of each head.
 *
 *   a ↦ a · cos − b · sin;  b ↦ b · cos + a · sin
 *
 * Shapes:   x f32 [tokens, heads, D], tokens `stride` apart; cosines, sines f32 [tokens, D / 2]
 * Requires: D even
 * Source:   Su et al., arXiv 2104.09864, in the channel order of transformers
 */
export function rotaryForwardF32(
  x: usize, cosines: usize, sines: usize, tokens: i32, heads: i32, headWidth: i32, stride: i32,
): void {
  turn(x, cosines, sines, tokens, heads, headWidth, stride, 1);
}

/** dX = the rotation's transpose · dOut, in place. Shapes as in the forward pass. */
export function rotaryBackwardF32(
  dX: usize, cosines: usize, sines: usize, tokens: i32, heads: i32, headWidth: i32, stride: i32,
): void {
  turn(dX, cosines, sines, tokens, heads, headWidth, stride, -1);
}

/** Rotates by the angles (`direction` 1) or back (−1). */
function turn(
  x: usize, cosines: usize, sines: usize, tokens: i32, heads: i32, headWidth: i32, stride: i32, direction: f32,
): void {
  assert(tokens >= 0 && heads > 0 && headWidth > 0, "sizes must be positive");
  assert(headWidth % 2 == 0, "a head must have pairs");
  assert(stride >= heads * headWidth, "tokens must not overlap");

  const halfBytes = <usize>(headWidth >> 1) << 2;
  for (let token = 0; token < tokens; token++) {
    for (let head = 0; head < heads; head++) {
      const first = x + <usize>head * 2 * halfBytes;
      for (let i: usize = 0; i < halfBytes; i += 4) {
        const a = load<f32>(first + i);
        const b = load<f32>(first + halfBytes + i);
        const cosine = load<f32>(cosines + i);
        const sine: f32 = load<f32>(sines + i) * direction;
        store<f32>(first + i, a * cosine - b * sine);
        store<f32>(first + halfBytes + i, b * cosine + a * sine);
      }
    }
    x += <usize>stride << 2;
    cosines += halfBytes;
    sines += halfBytes;
  }
}
