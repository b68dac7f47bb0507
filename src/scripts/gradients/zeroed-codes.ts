/** What share of a layer's dY becomes zero in four bits, though it was none. */
import { drawSigns, hadamard } from "../../kernels/hadamard.ts";
import { countMxfp4, quantizeMxfp4 } from "../../kernels/mxfp4.ts";
import { noiseKey, PURPOSE } from "../../kernels/noise.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { ObservedLayer } from "./observed-layers.ts";

export type ZeroedShares = {
  nearest: number;
  rotatedNearest: number;
  rotatedStochastic: number;
};

export function zeroedShares({ dOutput }: ObservedLayer): ZeroedShares {
  return {
    nearest: share(dOutput, false, false),
    rotatedNearest: share(dOutput, true, false),
    rotatedStochastic: share(dOutput, true, true),
  };
}

function share(
  values: Float32Array<ArrayBuffer>,
  isRotated: boolean,
  isStochastic: boolean,
): number {
  const { arena } = kernels();
  const { length } = values;
  return arena.scope(() => {
    const x = arena.copyIn(values);
    if (isRotated) {
      const signs = arena.allocF32(64);
      drawSigns(signs, 64, noiseKey(0, PURPOSE.gemmSigns, 0, 0, 0, 0, 1));
      hadamard(x, length, 64, signs);
    }
    const [elements, scales] = [
      arena.alloc(length / 2),
      arena.alloc(length / 32),
    ];
    const key = noiseKey(0, PURPOSE.gemmRounding, 0, 0, 0, 0, 0, 1);
    const prescale = isStochastic ? 0.75 : 1;
    quantizeMxfp4(elements, scales, x, length, {
      rounding: isStochastic
        ? { mode: "stochastic", key, firstElement: 0 }
        : { mode: "nearest-even" },
      scale: "floor",
      prescale,
    });
    return countMxfp4(x, elements, scales, length, prescale).zeroed / length;
  });
}
