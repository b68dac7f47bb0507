/**
 * Cosines and sines of rotary positions, computed with exactly specified operations only: results must not depend on an
 * engine's `Math.cos`.
 */
import type { Angles } from "../../kernels/attention.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { LlamaShape } from "../../api/run-config.ts";
import { scaledTurns, type Turns } from "./rope-scaling.ts";

/** π/2 in two parts (Cody–Waite); the first has few enough bits for exact multiples. */
const HALF_PI_HIGH = 1.5707963267341256;
const HALF_PI_LOW = 6.077100506506192e-11;
/** Terms of the Taylor series: the next one is below 2^−53 for angles up to π/4. */
const TERMS = 9;

/** The rotary frequencies of a shape. */
export function turnsOf({
  headWidth,
  ropeBase,
  ropeScaling,
}: Pick<LlamaShape, "headWidth" | "ropeBase" | "ropeScaling">): Turns {
  const plain = frequencies(ropeBase, headWidth / 2);
  return scaledTurns(plain, ropeBase, ropeScaling);
}

/** base^(−i / half) for each pair of channels. */
export function frequencies(base: number, half: number): Float64Array {
  const root = rootOf(base, half);
  const all = new Float64Array(half);
  let power = 1;
  for (let i = 0; i < half; i++, power *= root) all[i] = 1 / power;
  return all;
}

/** For `tokens` positions from `first` on; f32 [tokens, half] each, in the caller's arena scope. */
export function rotaryAngles(
  { perToken, magnitude }: Turns,
  first: number,
  tokens: number,
): Angles {
  const { arena } = kernels();
  const { length: half } = perToken;
  const cosines = arena.allocF32(tokens * half);
  const sines = arena.allocF32(tokens * half);
  const [toCosines, toSines] = [cosines, sines].map((pointer) =>
    arena.f32(pointer, tokens * half),
  ) as [Float32Array, Float32Array];
  for (let t = 0; t < tokens; t++)
    for (let i = 0; i < half; i++) {
      const { cosine, sine } = onCircle((first + t) * perToken[i]!);
      toCosines[t * half + i] = magnitude * cosine;
      toSines[t * half + i] = magnitude * sine;
    }
  return { cosines, sines };
}

/** The largest f64 x with x^n ≤ value, by bisection. */
function rootOf(value: number, n: number): number {
  const isBelow = (x: number): boolean => {
    let power = 1;
    for (let i = 0; i < n && power <= value; i++) power *= x;
    return power <= value;
  };
  let [low, high] = [0, Math.max(1, value)];
  for (;;) {
    const middle = (low + high) / 2;
    if (middle <= low || middle >= high) return low;
    if (isBelow(middle)) low = middle;
    else high = middle;
  }
}

/** Cosine and sine of an angle in radians. */
export function onCircle(angle: number): { cosine: number; sine: number } {
  const quarters = Math.round(angle / HALF_PI_HIGH);
  const rest = angle - quarters * HALF_PI_HIGH - quarters * HALF_PI_LOW;
  const square = rest * rest;
  let cosine = 1;
  let sine = 1;
  for (let i = TERMS; i > 0; i--) {
    cosine = 1 - (cosine * square) / ((2 * i - 1) * (2 * i));
    sine = 1 - (sine * square) / (2 * i * (2 * i + 1));
  }
  sine *= rest;
  switch (((quarters % 4) + 4) % 4) {
    case 0:
      return { cosine, sine };
    case 1:
      return { cosine: -sine, sine: cosine };
    case 2:
      return { cosine: -cosine, sine: -sine };
    default:
      return { cosine: sine, sine: -cosine };
  }
}
