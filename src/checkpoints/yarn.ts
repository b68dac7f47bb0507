/** What YaRN multiplies queries and keys by. Source: transformers' modeling_rope_utils */

/** Terms of the series: within a factor of √2 of 1 the next is below 2^−53. */
const TERMS = 11;

/**
 * The natural logarithm of `x` > 0, finite, from operations that languages fix to the last bit: a run's bytes must not
 * depend on whose `Math.log` it is.
 */
export function logarithm(x: number): number {
  let [mantissa, exponent] = [x, 0];
  for (; mantissa > Math.SQRT2; mantissa /= 2) exponent++;
  for (; mantissa < Math.SQRT1_2; mantissa *= 2) exponent--;
  // ln m = 2 · artanh((m − 1) / (m + 1))
  const y = (mantissa - 1) / (mantissa + 1);
  let series = 0;
  for (let i = TERMS - 1; i >= 0; i--)
    series = series * y * y + 1 / (2 * i + 1);
  return exponent * Math.LN2 + 2 * y * series;
}

/** Where nothing else is told; `scale` multiplies the logarithm. */
export function attentionOf(factor: number, scale = 1): number {
  return factor <= 1 ? 1 : 0.1 * scale * logarithm(factor) + 1;
}

/** `told` reads a number from config.json's `rope_parameters`; `attention_factor` goes before the two scales. */
export function yarnAttention(
  factor: number,
  told: (key: string) => number | undefined,
): number {
  const [scale, scaleOfAll] = [told("mscale"), told("mscale_all_dim")];
  const untold =
    scale && scaleOfAll
      ? attentionOf(factor, scale) / attentionOf(factor, scaleOfAll)
      : attentionOf(factor);
  return told("attention_factor") ?? untold;
}
