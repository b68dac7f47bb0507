import { loadPartial, storePartial, sumLanes } from "../simd/lanes";

/** GPT-2's epsilon, added to the variance. */
// @ts-ignore: decorator
@inline const EPSILON: f32 = 1e-5;

/**
 * out = (x − mean) · rstd · weight + bias over each row, rstd = 1 / √(variance + 1e-5).
 *
 * Shapes:   out, x f32 [rows, C]; mean, rstd f32 [rows]; weight, bias f32 [C]
 * Source:   Ba, Kiros, Hinton, arXiv 1607.06450; the biased variance, as in GPT-2
 */
export function layerNormForwardF32(
  out: usize,
  mean: usize,
  rstd: usize,
  x: usize,
  weight: usize,
  bias: usize,
  rows: i32,
  width: i32,
): void {
  assert(rows >= 0 && width > 0, "sizes must be positive");

  const rowBytes = <usize>width << 2;
  const wholeBytes = <usize>(width & ~3) << 2;
  const rest = width & 3;
  for (let row = 0; row < rows; row++) {
    let sums = loadPartial(x + wholeBytes, rest, 0);
    for (let at: usize = 0; at < wholeBytes; at += 16) {
      sums = f32x4.add(sums, v128.load(x + at));
    }
    const rowMean = sumLanes(sums) / <f32>width;

    const mean4 = f32x4.splat(rowMean);
    let centred = f32x4.sub(loadPartial(x + wholeBytes, rest, rowMean), mean4);
    let squares = f32x4.mul(centred, centred);
    for (let at: usize = 0; at < wholeBytes; at += 16) {
      centred = f32x4.sub(v128.load(x + at), mean4);
      squares = f32x4.add(squares, f32x4.mul(centred, centred));
    }
    const rowRstd: f32 = 1 / sqrt<f32>(sumLanes(squares) / <f32>width + EPSILON);
    store<f32>(mean, rowMean);
    store<f32>(rstd, rowRstd);

    const rstd4 = f32x4.splat(rowRstd);
    for (let at: usize = 0; at < wholeBytes; at += 16) {
      const normalized = f32x4.mul(f32x4.sub(v128.load(x + at), mean4), rstd4);
      const scaled = f32x4.mul(normalized, v128.load(weight + at));
      v128.store(out + at, f32x4.add(scaled, v128.load(bias + at)));
    }
    const last = f32x4.mul(
      f32x4.sub(loadPartial(x + wholeBytes, rest, 0), mean4),
      rstd4,
    );
    const scaled = f32x4.mul(last, loadPartial(weight + wholeBytes, rest, 0));
    const shifted = f32x4.add(scaled, loadPartial(bias + wholeBytes, rest, 0));
    storePartial(out + wholeBytes, shifted, rest);

    x += rowBytes;
    out += rowBytes;
    mean += 4;
    rstd += 4;
  }
}

/**
 * With n = (x − mean) · rstd and dn = dOut · weight:
 *
 *   dX += rstd · (dn − mean(dn) − n · mean(dn · n));  dWeight += Σ dOut · n;  dBias += Σ dOut
 *
 * Shapes:   dX, dOut, x f32 [rows, C]; dWeight, dBias, weight f32 [C]; mean, rstd f32 [rows]
 * Meaning:  all three results accumulate, rows in order
 */
export function layerNormBackwardF32(
  dX: usize,
  dWeight: usize,
  dBias: usize,
  dOut: usize,
  x: usize,
  mean: usize,
  rstd: usize,
  weight: usize,
  rows: i32,
  width: i32,
): void {
  assert(rows >= 0 && width > 0, "sizes must be positive");

  const rowBytes = <usize>width << 2;
  const wholeBytes = <usize>(width & ~3) << 2;
  const rest = width & 3;
  for (let row = 0; row < rows; row++) {
    const rowMean = load<f32>(mean);
    const mean4 = f32x4.splat(rowMean);
    const rstd4 = v128.load32_splat(rstd);

    // Missing lanes get x = mean and dOut = 0, which add nothing.
    const lastN = f32x4.mul(
      f32x4.sub(loadPartial(x + wholeBytes, rest, rowMean), mean4),
      rstd4,
    );
    const lastDOut = loadPartial(dOut + wholeBytes, rest, 0);
    const lastDn = f32x4.mul(lastDOut, loadPartial(weight + wholeBytes, rest, 0));
    let sumDn = lastDn;
    let sumDnN = f32x4.mul(lastDn, lastN);
    for (let at: usize = 0; at < wholeBytes; at += 16) {
      const n = f32x4.mul(f32x4.sub(v128.load(x + at), mean4), rstd4);
      const dn = f32x4.mul(v128.load(dOut + at), v128.load(weight + at));
      sumDn = f32x4.add(sumDn, dn);
      sumDnN = f32x4.add(sumDnN, f32x4.mul(dn, n));
    }
    const meanDn = f32x4.splat(sumLanes(sumDn) / <f32>width);
    const meanDnN = f32x4.splat(sumLanes(sumDnN) / <f32>width);

    for (let at: usize = 0; at < wholeBytes; at += 16) {
      const n = f32x4.mul(f32x4.sub(v128.load(x + at), mean4), rstd4);
      const d = v128.load(dOut + at);
      const dn = f32x4.mul(d, v128.load(weight + at));
      const centred = f32x4.sub(f32x4.sub(dn, meanDn), f32x4.mul(n, meanDnN));
      v128.store(dX + at, f32x4.add(v128.load(dX + at), f32x4.mul(rstd4, centred)));
      v128.store(dWeight + at, f32x4.add(v128.load(dWeight + at), f32x4.mul(d, n)));
      v128.store(dBias + at, f32x4.add(v128.load(dBias + at), d));
    }
    const centred = f32x4.sub(f32x4.sub(lastDn, meanDn), f32x4.mul(lastN, meanDnN));
    addPartial(dX + wholeBytes, f32x4.mul(rstd4, centred), rest);
    addPartial(dWeight + wholeBytes, f32x4.mul(lastDOut, lastN), rest);
    addPartial(dBias + wholeBytes, lastDOut, rest);

    x += rowBytes;
    dOut += rowBytes;
    dX += rowBytes;
    mean += 4;
    rstd += 4;
  }
}

/** The first `count` (0 … 3) f32 at `target` += lanes of `v`. */
// @ts-ignore: decorator
@inline
function addPartial(target: usize, v: v128, count: i32): void {
  storePartial(target, f32x4.add(loadPartial(target, count, 0), v), count);
}
