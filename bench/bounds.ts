/**
 * What a kernel would take if nothing but the processor's vector ports bounded it (docs/performance.md): products by
 * multiply-adds a cycle, the others by their vector instructions, counted in the source for four values, on four ports.
 */
import type { Machine } from "./machine.ts";

/** What one call computes: `units` are MACs of a product, values of what is elementwise. */
export type Work = { part: string; units: number; perCycle: number };

const PORTS = 4;
const LANES = 4;

/** MACs a cycle on vectors of 128 bits. */
const MACS = { f32: 8, vnni: 26.9, i16: 23.3 };

/** Vector instructions for four values, and which arguments' product is how many values there are. */
const ELEMENTWISE: Record<string, { instructions: number; sizes: number[] }> = {
  packF32: { instructions: 4, sizes: [2, 3] },
  packMxfp4: { instructions: 35, sizes: [2, 3] },
  packEden: { instructions: 40, sizes: [2, 3] },
  packInt6: { instructions: 10, sizes: [2, 3] },
  geluForwardF32: { instructions: 40, sizes: [2] },
  geluBackwardF32: { instructions: 48, sizes: [3] },
  layerNormForwardF32: { instructions: 11, sizes: [6, 7] },
  layerNormBackwardF32: { instructions: 28, sizes: [8, 9] },
  softmaxCrossEntropyForwardF32: { instructions: 36, sizes: [3, 4] },
  softmaxCrossEntropyBackwardF32: { instructions: 30, sizes: [4, 5] },
  biasForwardF32: { instructions: 2, sizes: [2, 3] },
  biasBackwardF32: { instructions: 4, sizes: [2, 3] },
  embeddingForwardF32: { instructions: 4, sizes: [4, 5, 6] },
  embeddingBackwardF32: { instructions: 8, sizes: [4, 5, 6] },
  addF32: { instructions: 4, sizes: [3] },
};

/** Undefined where no bound is stated. */
export function workOf(
  kernel: string,
  args: readonly number[],
  { variant, pairs }: Machine,
): Work | undefined {
  const wide = pairs ? 2 : 1;
  const product = (m: number, n: number, k: number, macs: number): Work => ({
    part: `${kernel} ${m}x${n}x${k}`,
    units: m * n * k,
    perCycle: wide * macs,
  });
  const size = (at: number): number => args[at]!;
  if (kernel === "gemmF32") {
    return product(size(4), size(5), size(6), MACS.f32);
  }
  if (kernel === "gemmMxfp4") {
    return product(size(3), size(4), size(5), MACS[variant]);
  }
  if (kernel === "gemmInt6") {
    return product(size(4), size(5), size(6), MACS[variant]);
  }
  if (kernel.startsWith("attention") && args.length > 4) {
    const [sequences, length, heads, , headWidth] = args.slice(-5) as [
      number,
      number,
      number,
      number,
      number,
    ];
    // Of each head two products forward and five backward, up to the diagonal.
    const products = kernel.includes("Forward") ? 2 : 5;
    const pairsOfTokens = (length * (length + 1)) / 2;
    return {
      part: kernel,
      units: products * sequences * heads * headWidth * pairsOfTokens,
      perCycle: wide * MACS.f32,
    };
  }
  const elementwise = ELEMENTWISE[kernel];
  if (!elementwise) return undefined;
  return {
    part: kernel,
    units: elementwise.sizes.reduce((values, at) => values * size(at), 1),
    perCycle: (LANES * PORTS) / elementwise.instructions,
  };
}
