/** YaRN's attention factor, which multiplies queries and keys. Source: transformers' modeling_rope_utils */

/** Terms of the series: the next one is below 2^−53 for arguments within [1/√2, √2]. */
const TERMS = 11;

/**
 * The natural logarithm of a finite x > 0, computed with exactly specified operations only: a run's bytes must not
 * depend on an engine's `Math.log`.
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

/** The default factor; `scale` multiplies the logarithm. */
export function attentionOf(factor: number, scale = 1): number {
  return factor <= 1 ? 1 : 0.1 * scale * logarithm(factor) + 1;
}

/**
 * `told` reads a number of config.json's `rope_parameters`; `attention_factor` takes precedence over the two scales.
 */
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
