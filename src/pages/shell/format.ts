/** Numbers for display. */

/** Significant digits of f32. */
const MOST_DIGITS = 8;

/** Four significant digits by default; a dash if there is no value. */
export function figure(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined || !Number.isFinite(value))
    return "–";
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1e6 || size < 1e-3) return value.toExponential(digits - 2);
  return Number(value.toPrecision(digits)).toLocaleString("en", {
    maximumFractionDigits: 6,
  });
}

/** A loss per token, and per byte of text if that differs. */
export function lossWords(
  perToken: number | null,
  perByte: number | null | undefined,
): string {
  const byTheByte =
    perToken === (perByte ?? perToken) ? "" : `, ${figure(perByte)} per byte`;
  return `${figure(perToken)} nats per token${byTheByte}`;
}

/** Labels of an axis' ticks, with enough digits to distinguish them; "" for null. */
export function tickLabels(values: readonly (number | null)[]): string[] {
  for (let digits = 3; ; digits++) {
    const labels = values.map((v) => (v === null ? "" : figure(v, digits)));
    const told = labels.filter((label) => label !== "");
    if (digits === MOST_DIGITS || new Set(told).size === told.length)
      return labels;
  }
}

export function share(value: number): string {
  return `${figure(100 * value, 3)} %`;
}

/** As in 1 layer, 2 layers. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** As in 3 min ago. */
export function ago(ms: number, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - ms) / 1000));
  if (seconds < 2) return "now";
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} days ago`;
}
