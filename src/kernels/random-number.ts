import { decodeKernels } from "./decode-runtime.ts";
import type { NoiseKey } from "./noise.ts";
import { kernels } from "./runtime.ts";

/** A random number in [0, 1), a multiple of 2^−32: a pure function of (key, counter). */
export function randomNumber(key: NoiseKey, counter: number): number {
  const { arena } = kernels();
  return arena.scope(() => {
    const word = arena.alloc(4);
    decodeKernels().fillNoise(word, 1, key[0], key[1], counter);
    return (arena.i32(word, 1)[0] >>> 0) / 2 ** 32;
  });
}
