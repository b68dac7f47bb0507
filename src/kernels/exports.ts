import type { Pointer } from "./arena.ts";

/** What `assembly/index.ts` exports. Pointers are byte addresses in the shared memory. */
export type KernelExports = {
  heapBase(): Pointer;
  fillNoise(out: Pointer, length: number, key0: number, key1: number, first: number): void;

  // MXFP4
  quantizeNearestMxfp4(
    elements: Pointer, scales: Pointer, input: Pointer, length: number,
    ties: number, scaleRule: number, prescale: number,
  ): void;
  quantizeStochasticMxfp4(
    elements: Pointer, scales: Pointer, input: Pointer, length: number,
    scaleRule: number, prescale: number, key0: number, key1: number, firstPair: number,
  ): void;
  dequantizeMxfp4(
    out: Pointer, elements: Pointer, scales: Pointer, length: number, factor: number,
  ): void;
  signsF32(out: Pointer, length: number, key0: number, key1: number): void;
  hadamardF32(x: Pointer, length: number, segmentLength: number, signs: Pointer): void;
  hadamardInverseF32(x: Pointer, length: number, segmentLength: number, signs: Pointer): void;
  gemmMxfp4(
    out: Pointer, aElements: Pointer, aScales: Pointer, bElements: Pointer, bScales: Pointer,
    m: number, n: number, k: number, factor: number,
  ): void;

  // Vectors
  addF32(out: Pointer, a: Pointer, b: Pointer, length: number): void;
  scaleF32(x: Pointer, length: number, factor: number): void;
  sumSquaresF32(x: Pointer, length: number): number;
  canonicalizeNaNF32(x: Pointer, length: number): void;
  encodeBf16(out: Pointer, x: Pointer, length: number): void;
  encodeBf16Stochastic(
    out: Pointer, x: Pointer, length: number, key0: number, key1: number, firstPair: number,
  ): void;
  decodeBf16(out: Pointer, bits: Pointer, length: number): void;
  normalF32(
    out: Pointer, length: number, deviation: number, key0: number, key1: number,
    firstElement: number,
  ): void;
  adamWF32(
    parameters: Pointer, m: Pointer, v: Pointer, gradient: Pointer, length: number,
    gradientScale: number, beta1: number, beta2: number, stepSize: number,
    rootCorrection2: number, epsilon: number, decay: number,
  ): void;
  cosine(x: number): number;
};
