/** Slow twins of the kernels that write text, from their definitions. */
import { decodeElement, decodeScale } from "./mxfp4.ts";

const { fround } = Math;

/** [tokens, rows]: w [rows, columns] · x [tokens, columns], each sum in order of k, rounded at each step. */
export function multiplyF32(
  w: Float32Array,
  x: Float32Array,
  rows: number,
  columns: number,
  tokens: number,
): Float32Array {
  return Float32Array.from({ length: tokens * rows }, (_, at) => {
    const [t, r] = [Math.floor(at / rows), at % rows];
    let sum = 0;
    for (let k = 0; k < columns; k++) {
      sum = fround(sum + fround(w[r * columns + k]! * x[t * columns + k]!));
    }
    return sum;
  });
}

/** The value of element (row, k) of codes [rows, columns / 2], even index low, with scales [rows, columns / 32]. */
export function mxfp4Value(
  codes: Uint8Array,
  scales: Uint8Array,
  columns: number,
  row: number,
  k: number,
): number {
  const at = row * columns + k;
  const byte = codes[at >> 1]!;
  const code = at % 2 === 0 ? byte & 15 : byte >> 4;
  return decodeElement(code) * decodeScale(scales[at >> 5]!);
}

/** Integers of a block of 32 and half of what one of them is worth. */
export function quantizeI16(x: Float32Array): {
  integers: number[];
  scale: number;
} {
  const largest = Math.max(...x.map(Math.abs));
  if (largest < 2 ** -100)
    return { integers: Array.from(x, () => 0), scale: 0 };
  const inverse = fround(32767 / largest);
  return {
    integers: Array.from(x, (value) => nearestEven(fround(value * inverse))),
    scale: fround(largest / 65534),
  };
}

function nearestEven(x: number): number {
  const down = Math.floor(x);
  const half = x - down - 0.5;
  if (half !== 0) return half < 0 ? down : down + 1;
  return down % 2 === 0 ? down : down + 1;
}

export type AttendShape = {
  first: number;
  tokens: number;
  heads: number;
  groups: number;
  headWidth: number;
};

/** q f32 [tokens, heads · D]; keys, values f32 [first + tokens, groups · D]; in f64. */
export function attend(
  q: Float32Array,
  keys: Float32Array,
  values: Float32Array,
  { first, tokens, heads, groups, headWidth }: AttendShape,
): Float64Array {
  const out = new Float64Array(tokens * heads * headWidth);
  for (let t = 0; t < tokens; t++) {
    for (let h = 0; h < heads; h++) {
      const group = Math.floor((h * groups) / heads);
      const own = (t * heads + h) * headWidth;
      const of = (s: number) => (s * groups + group) * headWidth;
      const scores = Array.from({ length: first + t + 1 }, (_, s) => {
        let dot = 0;
        for (let d = 0; d < headWidth; d++)
          dot += q[own + d]! * keys[of(s) + d]!;
        return dot / Math.sqrt(headWidth);
      });
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      for (const [s, weight] of weights.entries()) {
        for (let d = 0; d < headWidth; d++) {
          out[own + d]! += (weight / total) * values[of(s) + d]!;
        }
      }
    }
  }
  return out;
}

export function geluTanh(x: number): number {
  const inner = Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);
  return 0.5 * x * (1 + Math.tanh(inner));
}

export function siluProduct(gate: number, up: number): number {
  return (gate / (1 + Math.exp(-gate))) * up;
}

/** One row. */
export function rmsNorm(
  x: Float32Array,
  weight: Float32Array,
  epsilon: number,
): Float64Array {
  let squares = 0;
  for (const value of x) squares += value * value;
  const factor = 1 / Math.sqrt(squares / x.length + epsilon);
  return Float64Array.from(x, (value, i) => value * factor * weight[i]!);
}

/** One head, each product and difference rounded. */
export function rotary(
  x: Float32Array,
  cosines: Float32Array,
  sines: Float32Array,
): Float32Array {
  const half = x.length / 2;
  return x.map((_, i) => {
    const pair = i % half;
    const [a, b] = [x[pair]!, x[pair + half]!];
    const [c, s] = [cosines[pair]!, sines[pair]!];
    return i < half
      ? fround(a * c) - fround(b * s)
      : fround(b * c) + fround(a * s);
  });
}
