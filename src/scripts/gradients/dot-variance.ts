/**
 * Figure 2 of arXiv 2502.20586: the variance of Q(A)ᵀ · Q(B) under Algorithm 2, with and without the random
 * Hadamard transform, for draws with outliers: N(0, 1), plus with probability p N(0, 5). Beside what is measured
 * stands the exact formula,
 *
 *   Var = (16/9)² Σ_blocks (X_A X_B)² Σ_i (v_a v_b + v_a μ_b² + v_b μ_a²),  μ = 3/4 · a / X, v = (c − |μ|)(|μ| − f)
 *
 * with f and c the neighbours of |μ| on E2M1's grid and X the block's scale. The estimate has the right mean
 * whatever the signs, so over signs the variance is the mean of it.
 */
import { ALGORITHM_2, GEMM_RECIPES, productFactor } from "../../api/recipe.ts";
import { drawSigns, hadamardTransform } from "../../kernels/hadamard.ts";
import { byRows } from "../../kernels/matmul.ts";
import { matmulMxfp4, packMxfp4 } from "../../kernels/mxfp4-matmul.ts";
import { noiseKey, PURPOSE } from "../../kernels/noise.ts";
import { kernels } from "../../kernels/runtime.ts";
import { drawNormal } from "../../kernels/vector.ts";

/** Vectors of each side; every pair of them is a dot product. */
const ROWS = 16;
const DRAWS = 256;
/** Signs over which the formula is averaged. */
const FORMULA_DRAWS = 8;
const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
const BLOCK = 32;
const FACTOR = productFactor(GEMM_RECIPES["mxfp4-sr"]);

export type DotVariance = { measured: number; exact: number };

export function dotVariance(
  length: number,
  outlierShare: number,
  isRotated: boolean,
): DotVariance {
  const a = withOutliers(length, outlierShare, 1);
  const b = withOutliers(length, outlierShare, 2);
  const { arena } = kernels();
  const exactProducts = dots(a, b, length);
  let squares = 0;
  for (let draw = 0; draw < DRAWS; draw++) {
    arena.scope(() => {
      const signs = isRotated ? signsOf(draw) : undefined;
      const side = (name: "a" | "b", x: Float32Array<ArrayBuffer>) =>
        packMxfp4(name, byRows(arena.copyIn(x), length), ROWS, length, {
          signs,
          rounding: noiseKey(draw, PURPOSE.gemmRounding, Number(name === "b")),
        });
      const [left, right] = [side("a", a), side("b", b)];
      const out = arena.allocF32(ROWS * ROWS);
      matmulMxfp4(out, left, right, ROWS, ROWS, length, FACTOR);
      const values = arena.f32(out, ROWS * ROWS);
      for (const [i, product] of exactProducts.entries()) {
        squares += (values[i]! - product) ** 2;
      }
    });
  }
  const draws = isRotated ? FORMULA_DRAWS : 1;
  let exact = 0;
  for (let draw = 0; draw < draws; draw++) {
    const rotated = (x: Float32Array<ArrayBuffer>) =>
      isRotated ? rotate(x, draw) : x;
    exact += formula(rotated(a), rotated(b), length) / draws;
  }
  const pairs = ROWS * ROWS;
  return { measured: squares / DRAWS / pairs, exact };
}

/** Of all pairs, on the average. */
function formula(a: Float32Array, b: Float32Array, length: number): number {
  const [left, right] = [a, b].map((x) => rounding(x)) as [Rounding, Rounding];
  let sum = 0;
  for (let i = 0; i < ROWS; i++) {
    for (let j = 0; j < ROWS; j++) {
      for (let k = 0; k < length; k++) {
        const [at, to] = [i * length + k, j * length + k];
        const [va, vb] = [left.variance[at]!, right.variance[to]!];
        sum += va * vb + va * right.mean[to]! ** 2 + vb * left.mean[at]! ** 2;
      }
    }
  }
  return (FACTOR ** 2 * sum) / (ROWS * ROWS);
}

/** Of each element, its scale in it: the mean of what it is rounded to, and the variance. */
type Rounding = { mean: Float64Array; variance: Float64Array };

function rounding(x: Float32Array): Rounding {
  const mean = new Float64Array(x.length);
  const variance = new Float64Array(x.length);
  for (let first = 0; first < x.length; first += BLOCK) {
    const block = x.subarray(first, first + BLOCK);
    const largest = block.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    const scale = 2 ** (Math.floor(Math.log2(largest)) - 2);
    for (const [i, value] of block.entries()) {
      const u = Math.abs((ALGORITHM_2.prescale * value) / scale);
      const upper = E2M1.findIndex((grid) => grid > u);
      const [f, c] = [E2M1[upper - 1]!, E2M1[upper]!];
      mean[first + i] = scale * u * Math.sign(value);
      variance[first + i] = scale ** 2 * (c - u) * (u - f);
    }
  }
  return { mean, variance };
}

function dots(a: Float32Array, b: Float32Array, length: number): Float64Array {
  const out = new Float64Array(ROWS * ROWS);
  for (let i = 0; i < ROWS; i++)
    for (let j = 0; j < ROWS; j++)
      for (let k = 0; k < length; k++)
        out[i * ROWS + j]! += a[i * length + k]! * b[j * length + k]!;
  return out;
}

function withOutliers(
  length: number,
  outlierShare: number,
  seed: number,
): Float32Array<ArrayBuffer> {
  const { arena, exports } = kernels();
  const count = ROWS * length;
  return arena.scope(() => {
    const draws = [0, 1].map((which) => {
      const x = arena.allocF32(count);
      const key = noiseKey(seed, PURPOSE.initialParameters, which);
      drawNormal(x, count, which === 0 ? 1 : Math.sqrt(5), key, 0);
      return x;
    });
    const words = arena.alloc(4 * count);
    const key = noiseKey(seed, PURPOSE.initialParameters, 2);
    exports.fillNoise(words, count, key[0], key[1], 0);
    const [normal, outliers] = draws.map((x) => arena.f32(x, count));
    const chosen = arena.i32(words, count);
    return normal!.map((value, i) =>
      (chosen[i]! >>> 0) / 2 ** 32 < outlierShare
        ? value + outliers![i]!
        : value,
    );
  });
}

/** In the caller's scope. */
function signsOf(draw: number) {
  const signs = kernels().arena.allocF32(64);
  drawSigns(signs, 64, noiseKey(draw, PURPOSE.gemmSigns, 0));
  return signs;
}

function rotate(
  x: Float32Array<ArrayBuffer>,
  draw: number,
): Float32Array<ArrayBuffer> {
  const { arena } = kernels();
  return arena.scope(() => {
    const pointer = arena.copyIn(x);
    hadamardTransform(pointer, x.length, 64, signsOf(draw));
    return arena.f32(pointer, x.length).slice();
  });
}
