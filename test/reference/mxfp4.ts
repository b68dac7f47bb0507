/**
 * Slow twins of the MXFP4 kernels, from the definitions: scales by searching powers of two, elements
 * by searching the grid, in f64. Blocks as plain arrays of 32 numbers.
 */
import { noise } from "./noise.ts";

/** E2M1 magnitudes by code (OCP MX v1.0, table 5.3.3). */
export const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
const BLOCK_SIZE = 32;

export type Quantized = { elements: Uint8Array; scales: Uint8Array };

export function decodeElement(code: number): number {
  const magnitude = E2M1[code & 7]!;
  return code & 8 ? -magnitude : magnitude;
}

/** 2^(byte − 127), NaN for 255. */
export function decodeScale(byte: number): number {
  return byte === 255 ? NaN : 2 ** (byte - 127);
}

export type TwinRule = "floor" | "rceil" | "ceil" | "even" | "mse";
type TwinTies = "even" | "away" | "zero";

export function scaleByte(
  block: number[],
  rule: Exclude<TwinRule, "mse">,
  least: 0 | 1 = 0,
): number {
  const amax = Math.max(...block.map(Math.abs));
  if (block.some((x) => !Number.isFinite(x))) return 255;
  if (amax === 0) return least;
  let exponent = -150;
  if (rule === "floor") {
    while (2 ** (exponent + 1) <= amax) exponent++;
    exponent -= 2;
  } else if (rule === "rceil") {
    while (6 * 2 ** exponent < amax) exponent++;
  } else if (rule === "ceil") {
    while (2 ** exponent < amax) exponent++;
    exponent -= 2;
  } else {
    // The power of two below amax, or the next where amax is at least 1.75 times it.
    while (1.75 * 2 ** exponent <= amax) exponent++;
    exponent -= 2;
  }
  return Math.max(exponent + 127, least);
}

/**
 * The least byte at which nothing clips, or the one below where that loses less: differences of squares in
 * f32, summed in f32 by lane, i of elements i, i + 4, …, then (0 + 2) + (1 + 3). `magnitudes` are the
 * elements' values.
 */
export function mseByte(
  block: number[],
  magnitudes: readonly number[],
  least: 0 | 1,
  prescale: number,
): number {
  if (block.some((x) => !Number.isFinite(x))) return 255;
  const unitsOf = (byte: number) =>
    block.map((x) =>
      Math.fround(
        Math.fround(Math.abs(x) / decodeScale(byte)) * Math.fround(prescale),
      ),
    );
  let byte: number = least;
  while (Math.max(...unitsOf(byte)) > magnitudes.at(-1)!) byte++;
  if (byte === least) return byte;
  const lanes = [0, 0, 0, 0];
  const doubled = magnitudes.map((value) => 2 * value);
  unitsOf(byte - 1).forEach((u, i) => {
    const [fine, coarse] = [magnitudes, doubled].map((values) =>
      Math.fround(distance(u, values) ** 2),
    );
    const difference = Math.fround(fine! - coarse!);
    lanes[i % 4] = Math.fround(lanes[i % 4]! + difference);
  });
  const [even, odd] = [0, 1].map((i) => Math.fround(lanes[i]! + lanes[i + 2]!));
  return Math.fround(even! + odd!) < 0 ? byte - 1 : byte;
}

/** To the nearest of ascending values. */
function distance(u: number, values: readonly number[]): number {
  const above = values.findIndex((value) => value >= u);
  const near = [values.at(above)!, values[above - 1] ?? 0];
  return Math.min(...near.map((value) => Math.abs(u - value)));
}

/** The nearest code to |v|, searched over the grid. */
export function nearestCode(v: number, ties: TwinTies): number {
  let best = 0;
  for (let code = 1; code < 8; code++) {
    const now = Math.abs(v - E2M1[code]!);
    const before = Math.abs(v - E2M1[best]!);
    if (now < before) best = code;
    else if (now === before && ties === "away") best = code;
    else if (now === before && ties === "even" && code % 2 === 0) best = code;
  }
  return best;
}

/** The code that `r`, 16 bits of noise, gives |v| (docs/randomness.md). */
export function stochasticCode(v: number, r: number): number {
  const grid = Math.min(roundTiesEven(v * 4096), 6 * 4096);
  const half = Math.floor((grid + (r % 2048)) / 2048);
  const lower = E2M1.findLastIndex((value) => value <= half / 2);
  if (E2M1[lower] === half / 2) return lower;
  // Half-units above the lower neighbour, out of the step; the step's share of t decides.
  const step = (E2M1[lower + 1]! - E2M1[lower]!) * 2;
  const above = half - E2M1[lower]! * 2;
  return above + (Math.floor(r / 2048) % step) >= step ? lower + 1 : lower;
}

function roundTiesEven(v: number): number {
  const down = Math.floor(v);
  const rest = v - down;
  if (rest !== 0.5) return Math.round(v);
  return down % 2 === 0 ? down : down + 1;
}

export type TwinRounding =
  { ties: TwinTies } | { key: readonly [number, number]; firstPair: number };

export function quantizeMxfp4(
  input: Float32Array,
  rounding: TwinRounding,
  rule: TwinRule,
  prescale: number,
  least: 0 | 1 = 0,
): Quantized {
  const elements = new Uint8Array(input.length / 2);
  const scales = new Uint8Array(input.length / BLOCK_SIZE);
  for (let b = 0; b < scales.length; b++) {
    const block = Array.from(
      input.subarray(b * BLOCK_SIZE, (b + 1) * BLOCK_SIZE),
    );
    const scale =
      rule === "mse"
        ? mseByte(block, E2M1, least, prescale)
        : scaleByte(block, rule, least);
    scales[b] = scale;
    if (scale === 255) continue;
    block.forEach((x, i) => {
      const index = b * BLOCK_SIZE + i;
      const v = Math.fround(Math.abs(x) / decodeScale(scale));
      let code: number;
      if ("ties" in rounding) {
        code = nearestCode(Math.fround(v * prescale), rounding.ties);
      } else {
        const word = noise(...rounding.key, rounding.firstPair + (index >> 1));
        const r = index % 2 === 0 ? word % 65536 : Math.floor(word / 65536);
        code = stochasticCode(Math.fround(v * prescale * 4096) / 4096, r);
      }
      const unsigned =
        "ties" in rounding && rounding.ties === "zero" && code === 0;
      if ((Object.is(x, -0) || x < 0) && !unsigned) code += 8;
      elements[index >> 1]! |= index % 2 === 0 ? code : code << 4;
    });
  }
  return { elements, scales };
}

export function codeAt(elements: Uint8Array, index: number): number {
  return index % 2 === 0
    ? elements[index >> 1]! & 15
    : elements[index >> 1]! >> 4;
}

export function dequantizeMxfp4(
  { elements, scales }: Quantized,
  factor: number,
): Float32Array {
  const factorF32 = Math.fround(factor);
  return Float32Array.from({ length: elements.length * 2 }, (_, i) => {
    const scale = decodeScale(scales[Math.floor(i / BLOCK_SIZE)]!);
    return Math.fround(decodeElement(codeAt(elements, i)) * scale) * factorF32;
  });
}

/** H[i][j] of Sylvester's Hadamard matrix, orthonormal. */
export function hadamardEntry(
  i: number,
  j: number,
  segmentLength: number,
): number {
  let sign = 1;
  for (let bits = i & j; bits > 0; bits >>= 1) if (bits & 1) sign = -sign;
  return sign / Math.sqrt(segmentLength);
}

/** H · diag(signs) · x by segment, in f64. */
export function hadamard(
  x: ArrayLike<number>,
  segmentLength: number,
  signs: ArrayLike<number>,
) {
  return Float64Array.from({ length: x.length }, (_, index) => {
    const first = index - (index % segmentLength);
    let sum = 0;
    for (let j = 0; j < segmentLength; j++) {
      sum +=
        hadamardEntry(index % segmentLength, j, segmentLength) *
        signs[j]! *
        x[first + j]!;
    }
    return sum;
  });
}

/** factor · a · bᵀ of decoded operands, in f64: a [m, k], b [n, k]. */
export function gemm(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  m: number,
  n: number,
  k: number,
  factor = 1,
): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let l = 0; l < k; l++) sum += a[i * k + l]! * b[j * k + l]!;
      out[i * n + j] = factor * sum;
    }
  }
  return out;
}

/**
 * ⟨x, x⟩ / ⟨x, Q(x)⟩ of each 64 of `input`, 1 where that is no finite number. Sums over even elements, in order,
 * then odd ones.
 */
export function edenFactors(
  input: Float32Array,
  { elements, scales }: Quantized,
): number[] {
  return Array.from({ length: input.length / 64 }, (_, segment) => {
    const sums = { xx: [0, 0], xq: [0, 0] };
    for (let i = 64 * segment; i < 64 * segment + 64; i++) {
      const code = (elements[i >> 1]! >> (4 * (i % 2))) & 15;
      const scale = decodeScale(scales[Math.floor(i / BLOCK_SIZE)]!);
      const q = scale !== scale ? NaN : decodeElement(code) * scale;
      sums.xx[i % 2]! += input[i]! * input[i]!;
      sums.xq[i % 2]! += input[i]! * q;
    }
    const both = (parts: number[]) => parts[0]! + parts[1]!;
    const factor = both(sums.xx) / both(sums.xq);
    return Number.isFinite(factor) ? factor : 1;
  });
}

/** The byte for a factor (docs/randomness.md). */
export function factorCode(
  factor: number,
  key: readonly [number, number],
  segment: number,
): number {
  const dither = noise(...key, segment) / 2 ** 32;
  return Math.max(0, Math.min(255, Math.floor(256 * factor - 192 + dither)));
}
