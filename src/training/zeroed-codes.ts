/** How much of a layer's output gradient dY is rounded to zero in MXFP4. */
import {
  GEMM_RECIPES,
  type GemmRecipe,
  type Mxfp4Product,
} from "../api/recipe.ts";
import { drawSigns, hadamardTransform } from "../kernels/hadamard.ts";
import { countMxfp4, quantizeMxfp4 } from "../kernels/mxfp4.ts";
import { noiseKey, PURPOSE } from "../kernels/noise.ts";
import { kernels } from "../kernels/runtime.ts";
import type { ObservedLayer } from "./observed-layers.ts";

/** Share of nonzero elements of dY that become zero, by rotation and rounding. */
export type ZeroedShares = {
  nearest: number;
  rotatedNearest: number;
  rotatedStochastic: number;
};

export function zeroedShares({ dOutput }: ObservedLayer): ZeroedShares {
  return {
    nearest: codesOf(dOutput, "mxfp4").zeroed,
    rotatedNearest: codesOf(dOutput, "mxfp4-rht").zeroed,
    rotatedStochastic: codesOf(dOutput, "mxfp4-rht-sr").zeroed,
  };
}

/** Statistics of quantized values. */
export type Codes = {
  /** Shares of the elements. */
  zeroed: number;
  clipped: number;
  /** Number of blocks by the exponent of their scale. */
  scales: Map<number, number>;
};

/** Quantizes `values`, f32 of whole segments, as the first operand of a product of `recipe`. */
export function codesOf(
  values: Float32Array<ArrayBuffer>,
  recipe: Extract<GemmRecipe, `mxfp4${string}`>,
): Codes {
  const { rotation, a }: Mxfp4Product = GEMM_RECIPES[recipe];
  const { arena } = kernels();
  const { length } = values;
  return arena.scope(() => {
    const x = arena.copyIn(values);
    if (rotation !== 0) {
      const signs = arena.allocF32(rotation);
      drawSigns(signs, rotation, noiseKey(0, PURPOSE.gemmSigns, 0, 0, 0, 0, 1));
      hadamardTransform(x, length, rotation, signs);
    }
    const [elements, scales] = [
      arena.alloc(length / 2),
      arena.alloc(length / 32),
    ];
    const key = noiseKey(0, PURPOSE.gemmRounding, 0, 0, 0, 0, 0, 1);
    quantizeMxfp4(elements, scales, x, length, {
      rounding:
        a.rounding === "stochastic"
          ? { mode: a.rounding, key, firstElement: 0 }
          : { mode: a.rounding },
      scale: "floor",
      prescale: a.prescale,
    });
    const counts = countMxfp4(x, elements, scales, length, a.prescale);
    const exponents = new Map<number, number>();
    for (const scale of arena.u8(scales, length / 32))
      exponents.set(scale - 127, (exponents.get(scale - 127) ?? 0) + 1);
    return {
      zeroed: counts.zeroed / length,
      clipped: counts.clipped / length,
      scales: exponents,
    };
  });
}
