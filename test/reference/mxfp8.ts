/**
 * Slow twins of the MXFP8 kernels, from the definitions: elements by searching all finite values of the
 * type, in f64. Shares with MXFP4's twin how a scale byte decodes, how one of two is
 * chosen by squares, and what the noise is.
 */
import {
  decodeScale,
  mseByte,
  type Quantized,
  type TwinRule,
} from "./mxfp4.ts";
import { noise } from "./noise.ts";

export type TwinType = "e4m3" | "e5m2";

const BLOCK_SIZE = 32;

/** OCP MX v1.0 §5.3.1, table 2: exponent bits, bias, exponent of the largest value. */
const TYPES = {
  e4m3: { mantissaBits: 3, bias: 7, emax: 8, max: 448 },
  e5m2: { mantissaBits: 2, bias: 15, emax: 15, max: 57344 },
};

/** The value of one of 256 codes. */
export function decodeFloat8(code: number, type: TwinType): number {
  const { mantissaBits, bias } = TYPES[type];
  const sign = code & 0x80 ? -1 : 1;
  const exponent = (code & 0x7f) >> mantissaBits;
  const mantissa = (code & 0x7f) % 2 ** mantissaBits;
  if (type === "e4m3" && (code & 0x7f) === 0x7f) return NaN;
  if (type === "e5m2" && exponent === 31)
    return mantissa === 0 ? sign * Infinity : NaN;
  const step = 2 ** (Math.max(exponent, 1) - bias - mantissaBits);
  const implied = exponent === 0 ? 0 : 2 ** mantissaBits;
  return sign * (implied + mantissa) * step;
}

/** All finite magnitudes by code: 0 … 448 or 57344. */
export function magnitudes(type: TwinType): number[] {
  const codes = Array.from({ length: 128 }, (_, code) =>
    decodeFloat8(code, type),
  );
  return codes.filter(Number.isFinite);
}

const MAGNITUDES = { e4m3: magnitudes("e4m3"), e5m2: magnitudes("e5m2") };

function scaleByte(
  block: number[],
  type: TwinType,
  rule: TwinRule,
  least: 0 | 1 = 0,
): number {
  if (rule === "mse") return mseByte(block, MAGNITUDES[type], least, 1);
  const { mantissaBits, emax, max } = TYPES[type];
  const amax = Math.max(...block.map(Math.abs));
  if (block.some((x) => !Number.isFinite(x))) return 255;
  if (amax === 0) return least;
  let exponent = -170;
  if (rule === "floor") {
    while (2 ** (exponent + 1 + emax) <= amax) exponent++;
  } else if (rule === "rceil") {
    while (max * 2 ** exponent < amax) exponent++;
  } else if (rule === "ceil") {
    while (2 ** (exponent + emax) < amax) exponent++;
  } else {
    // From half a step below the next power of two on, amax counts as that.
    const next = 2 - 2 ** (-mantissaBits - 1);
    while (next * 2 ** (exponent + emax) <= amax) exponent++;
  }
  return Math.max(exponent + 127, least);
}

/** The nearest code to |v|, searched over all finite values. */
function nearestCode(v: number, type: TwinType, ties: "even" | "away"): number {
  const grid = MAGNITUDES[type];
  let best = 0;
  for (let code = 1; code < grid.length; code++) {
    const now = Math.abs(v - grid[code]!);
    const before = Math.abs(v - grid[best]!);
    if (now < before) best = code;
    else if (now === before && (ties === "away" || code % 2 === 0)) best = code;
  }
  return best;
}

/** The code that `r`, 16 bits of noise, gives |v| (docs/randomness.md). */
export function stochasticCode(v: number, type: TwinType, r: number): number {
  const grid = MAGNITUDES[type];
  const lower = grid.findLastIndex((value) => value <= v);
  if (lower === grid.length - 1) return lower;
  const step = grid[lower + 1]! - grid[lower]!;
  const part = (v - grid[lower]!) / step;
  // The grid of 2^−16 steps, whose ties to even are those of part, as a step is 2^16 of them.
  const rest = part * 65536;
  const down = Math.floor(rest);
  const isUp = rest - down > 0.5 || (rest - down === 0.5 && down % 2 === 1);
  return lower + Math.floor((down + (isUp ? 1 : 0) + r) / 65536);
}

export type TwinRounding =
  | { ties: "even" | "away" }
  | { key: readonly [number, number]; firstPair: number };

export function quantizeMxfp8(
  input: Float32Array,
  type: TwinType,
  rounding: TwinRounding,
  rule: TwinRule,
  least: 0 | 1 = 0,
): Quantized {
  const elements = new Uint8Array(input.length);
  const scales = new Uint8Array(input.length / BLOCK_SIZE);
  for (let b = 0; b < scales.length; b++) {
    const first = b * BLOCK_SIZE;
    const block = Array.from(input.subarray(first, first + BLOCK_SIZE));
    const scale = scaleByte(block, type, rule, least);
    scales[b] = scale;
    if (scale === 255) continue;
    block.forEach((x, i) => {
      const v = Math.fround(Math.abs(x) / decodeScale(scale));
      let code: number;
      if ("ties" in rounding) {
        code = nearestCode(v, type, rounding.ties);
      } else {
        const index = first + i;
        const word = noise(...rounding.key, rounding.firstPair + (index >> 1));
        const r = index % 2 === 0 ? word % 65536 : Math.floor(word / 65536);
        code = stochasticCode(v, type, r);
      }
      const isNegative = Object.is(x, -0) || x < 0;
      elements[first + i] = code + (isNegative ? 128 : 0);
    });
  }
  return { elements, scales };
}

export function dequantizeMxfp8(
  { elements, scales }: Quantized,
  type: TwinType,
): Float32Array {
  return Float32Array.from(
    elements,
    (code, i) => decodeFloat8(code, type) * decodeScale(scales[i >> 5]!),
  );
}
