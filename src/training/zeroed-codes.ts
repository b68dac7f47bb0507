/** What becomes of a layer's dY in four bits: how much of it zero, though it was none. */
import { GEMM_RECIPES } from "../api/recipe.ts";
import { drawSigns, hadamardTransform } from "../kernels/hadamard.ts";
import { countMxfp4, quantizeMxfp4 } from "../kernels/mxfp4.ts";
import { noiseKey, PURPOSE } from "../kernels/noise.ts";
import { kernels } from "../kernels/runtime.ts";
import type { ObservedLayer } from "./observed-layers.ts";

export type ZeroedShares = {
  nearest: number;
  rotatedNearest: number;
  rotatedStochastic: number;
};

export function zeroedShares({ dOutput }: ObservedLayer): ZeroedShares {
  return {
    nearest: codesOf(dOutput, false, false).zeroed,
    rotatedNearest: codesOf(dOutput, true, false).zeroed,
    rotatedStochastic: codesOf(dOutput, true, true).zeroed,
  };
}

/** What becomes of values in blocks. */
export type Codes = {
  /** Shares of them. */
  zeroed: number;
  clipped: number;
  /** How many blocks have each exponent of a scale. */
  scales: Map<number, number>;
};

export function codesOf(
  values: Float32Array<ArrayBuffer>,
  isRotated: boolean,
  isStochastic: boolean,
): Codes {
  const { arena } = kernels();
  const { length } = values;
  return arena.scope(() => {
    const x = arena.copyIn(values);
    if (isRotated) {
      const signs = arena.allocF32(64);
      drawSigns(signs, 64, noiseKey(0, PURPOSE.gemmSigns, 0, 0, 0, 0, 1));
      hadamardTransform(x, length, 64, signs);
    }
    const [elements, scales] = [
      arena.alloc(length / 2),
      arena.alloc(length / 32),
    ];
    const key = noiseKey(0, PURPOSE.gemmRounding, 0, 0, 0, 0, 0, 1);
    const { prescale } = GEMM_RECIPES[isStochastic ? "mxfp4-sr" : "mxfp4"].a;
    quantizeMxfp4(elements, scales, x, length, {
      rounding: isStochastic
        ? { mode: "stochastic", key, firstElement: 0 }
        : { mode: "nearest-even" },
      scale: "floor",
      prescale,
    });
    const counts = countMxfp4(x, elements, scales, length, prescale);
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
