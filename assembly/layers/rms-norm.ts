import { sumLanes } from "../simd/lanes";

/**
 * out = x · rstd · weight over each row, rstd = 1 / √(mean(x²) + epsilon).
 *
 * Shapes:   out, x f32 [rows, width], rows `stride` apart; rstd f32 [rows]; weight f32 [width]; `out` may be `x`
 * Source:   Zhang & Sennrich, arXiv 1910.07467
 */
export function rmsNormForwardF32(
  out: usize,
  rstd: usize,
  x: usize,
  weight: usize,
  rows: i32,
  width: i32,
  stride: i32,
  epsilon: f32,
): void {
  assert(rows >= 0 && width > 0, "sizes must be positive");
  assert(stride >= width, "rows must not overlap");

  const strideBytes = <usize>stride << 2;
  const rowBytes = <usize>width << 2;
  const wholeBytes = <usize>(width & ~3) << 2;
  for (let row = 0; row < rows; row++) {
    let squares4 = f32x4.splat(0);
    for (let at: usize = 0; at < wholeBytes; at += 16) {
      const v = v128.load(x + at);
      squares4 = f32x4.add(squares4, f32x4.mul(v, v));
    }
    let squares: f32 = sumLanes(squares4);
    for (let at = wholeBytes; at < rowBytes; at += 4) {
      squares += load<f32>(x + at) * load<f32>(x + at);
    }
    const rowRstd: f32 = 1 / sqrt<f32>(squares / <f32>width + epsilon);
    store<f32>(rstd, rowRstd);
    const rstd4 = f32x4.splat(rowRstd);
    for (let at: usize = 0; at < wholeBytes; at += 16) {
      const normalized = f32x4.mul(v128.load(x + at), rstd4);
      v128.store(out + at, f32x4.mul(normalized, v128.load(weight + at)));
    }
    for (let at = wholeBytes; at < rowBytes; at += 4) {
      store<f32>(out + at, load<f32>(x + at) * rowRstd * load<f32>(weight + at));
    }
    x += strideBytes;
    out += strideBytes;
    rstd += 4;
  }
}

/**
 * With n = x · rstd and dn = dOut · weight:
 *
 *   dX += rstd · (dn − n · mean(dn · n));  dWeight += Σ dOut · n
 *
 * Shapes:   dX, dOut, x f32 [rows, width], rows `stride` apart; dWeight, weight f32 [width]; rstd f32 [rows]
 * Meaning:  both results accumulate, rows in order
 */
export function rmsNormBackwardF32(
  dX: usize,
  dWeight: usize,
  dOut: usize,
  x: usize,
  rstd: usize,
  weight: usize,
  rows: i32,
  width: i32,
  stride: i32,
): void {
  assert(rows >= 0 && width > 0, "sizes must be positive");
  assert(stride >= width, "rows must not overlap");

  const strideBytes = <usize>stride << 2;
  const rowBytes = <usize>width << 2;
  const wholeBytes = <usize>(width & ~3) << 2;
  for (let row = 0; row < rows; row++) {
    const rowRstd = load<f32>(rstd);
    const rstd4 = f32x4.splat(rowRstd);
    let sums4 = f32x4.splat(0);
    for (let at: usize = 0; at < wholeBytes; at += 16) {
      const n = f32x4.mul(v128.load(x + at), rstd4);
      const dn = f32x4.mul(v128.load(dOut + at), v128.load(weight + at));
      sums4 = f32x4.add(sums4, f32x4.mul(dn, n));
    }
    let sum: f32 = sumLanes(sums4);
    for (let at = wholeBytes; at < rowBytes; at += 4) {
      sum += load<f32>(dOut + at) * load<f32>(weight + at) * (load<f32>(x + at) * rowRstd);
    }
    const mean: f32 = sum / <f32>width;
    const mean4 = f32x4.splat(mean);
    for (let at: usize = 0; at < wholeBytes; at += 16) {
      const n = f32x4.mul(v128.load(x + at), rstd4);
      const d = v128.load(dOut + at);
      const centred = f32x4.sub(f32x4.mul(d, v128.load(weight + at)), f32x4.mul(n, mean4));
      v128.store(dX + at, f32x4.add(v128.load(dX + at), f32x4.mul(rstd4, centred)));
      v128.store(dWeight + at, f32x4.add(v128.load(dWeight + at), f32x4.mul(d, n)));
    }
    for (let at = wholeBytes; at < rowBytes; at += 4) {
      const n: f32 = load<f32>(x + at) * rowRstd;
      const d = load<f32>(dOut + at);
      const centred: f32 = d * load<f32>(weight + at) - n * mean;
      store<f32>(dX + at, load<f32>(dX + at) + rowRstd * centred);
      store<f32>(dWeight + at, load<f32>(dWeight + at) + d * n);
    }
    x += strideBytes;
    dOut += strideBytes;
    dX += strideBytes;
    rstd += 4;
  }
}
