const TERMS = 24;
const LN2 = 0.6931471805599453;
const LN10 = 2.302585092994046;

/** 10 · log10(ratio) of a positive number, the same on every machine, as Math.log10 need not be. */
export function decibels(ratio: number): number {
  let exponent = 0;
  let mantissa = ratio;
  for (; mantissa > 1.5; mantissa /= 2) exponent++;
  for (; mantissa < 0.75; mantissa *= 2) exponent--;
  // ln m = 2 · artanh((m − 1) / (m + 1)), whose series converges fast: |s| ≤ 0.2.
  const s = (mantissa - 1) / (mantissa + 1);
  let sum = 0;
  for (let n = TERMS; n >= 0; n--) sum = sum * s * s + 1 / (2 * n + 1);
  return (10 * (2 * s * sum + exponent * LN2)) / LN10;
}
