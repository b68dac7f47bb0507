/**
 * One AdamW update, in place.
 *
 *   g = gradientScale · gradient
 *   m = beta1 · m + (1 − beta1) · g;  v = beta2 · v + (1 − beta2) · g²
 *   p = decay · p − stepSize · m / (√v / rootCorrection2 + epsilon)
 *
 * with decay = 1 − lr · weightDecay, stepSize = lr / (1 − beta1^t), rootCorrection2 = √(1 − beta2^t).
 *
 * Shapes:   parameters, m, v, gradient f32 [length]
 * Source:   Loshchilov & Hutter, arXiv 1711.05101, Algorithm 2
 */
export function adamWF32(
  parameters: usize, m: usize, v: usize, gradient: usize, length: i32,
  gradientScale: f32, beta1: f64, beta2: f64, stepSize: f32, rootCorrection2: f32,
  epsilon: f32, decay: f32,
): void {
  const keepM = <f32>beta1;
  const takeM = <f32>(1 - beta1);
  const keepV = <f32>beta2;
  const takeV = <f32>(1 - beta2);
  const bytes = <usize>length << 2;
  const vectorBytes = <usize>(length & ~3) << 2;

  let at: usize = 0;
  for (; at < vectorBytes; at += 16) {
    const g = f32x4.mul(v128.load(gradient + at), f32x4.splat(gradientScale));
    const newM = f32x4.add(
      f32x4.mul(v128.load(m + at), f32x4.splat(keepM)),
      f32x4.mul(g, f32x4.splat(takeM)),
    );
    const newV = f32x4.add(
      f32x4.mul(v128.load(v + at), f32x4.splat(keepV)),
      f32x4.mul(f32x4.mul(g, g), f32x4.splat(takeV)),
    );
    const denominator = f32x4.add(
      f32x4.div(f32x4.sqrt(newV), f32x4.splat(rootCorrection2)),
      f32x4.splat(epsilon),
    );
    const kept = f32x4.mul(v128.load(parameters + at), f32x4.splat(decay));
    const change = f32x4.div(f32x4.mul(newM, f32x4.splat(stepSize)), denominator);
    v128.store(parameters + at, f32x4.sub(kept, change));
    v128.store(m + at, newM);
    v128.store(v + at, newV);
  }
  for (; at < bytes; at += 4) {
    const g = load<f32>(gradient + at) * gradientScale;
    const newM = load<f32>(m + at) * keepM + g * takeM;
    const newV = load<f32>(v + at) * keepV + g * g * takeV;
    const denominator = sqrt<f32>(newV) / rootCorrection2 + epsilon;
    store<f32>(parameters + at, load<f32>(parameters + at) * decay - newM * stepSize / denominator);
    store<f32>(m + at, newM);
    store<f32>(v + at, newV);
  }
}
