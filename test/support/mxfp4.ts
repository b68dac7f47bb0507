/** The MXFP4 kernels on plain arrays: copy in, run, copy out. */
import type { SegmentLength } from "../../src/api/scheme.ts";
import { kernels } from "../../src/kernels/runtime.ts";
import { byRows } from "../../src/kernels/matmul.ts";
import {
  type DotForm,
  fastestDotForm,
  matmulMxfp4,
  packMxfp4,
} from "../../src/kernels/mxfp4-matmul.ts";
import {
  drawSigns,
  hadamardTransform,
  hadamardInverse,
} from "../../src/kernels/hadamard.ts";
import {
  dequantizeEdenMxfp4,
  quantizeEdenMxfp4,
} from "../../src/kernels/eden.ts";
import {
  dequantizeMxfp4,
  quantizeMxfp4,
  type Quantizer,
} from "../../src/kernels/mxfp4.ts";
import type { NoiseKey } from "../../src/kernels/noise.ts";
import type { Quantized } from "../reference/mxfp4.ts";

export function quantize(input: Float32Array, quantizer: Quantizer): Quantized {
  const { arena } = kernels();
  return arena.scope(() => {
    const source = arena.copyIn(input);
    const elements = arena.alloc(input.length / 2);
    const scales = arena.alloc(input.length / 32);
    quantizeMxfp4(elements, scales, source, input.length, quantizer);
    return {
      elements: arena.u8(elements, input.length / 2).slice(),
      scales: arena.u8(scales, input.length / 32).slice(),
    };
  });
}

export function dequantize(quantized: Quantized, factor: number): Float32Array {
  const { arena } = kernels();
  const length = quantized.elements.length * 2;
  return arena.scope(() => {
    const elements = arena.copyIn(quantized.elements);
    const scales = arena.copyIn(quantized.scales);
    const out = arena.allocF32(length);
    dequantizeMxfp4(out, elements, scales, length, factor);
    return arena.f32(out, length).slice();
  });
}

export type Eden = Quantized & { factors: Uint8Array };

/** `firstElement` is where `x` begins in its vector. */
export function quantizeEden(
  x: Float32Array,
  key: NoiseKey,
  firstElement: number,
): Eden {
  const { arena } = kernels();
  return arena.scope(() => {
    const input = arena.copyIn(x);
    const parts = {
      elements: arena.alloc(x.length / 2),
      scales: arena.alloc(x.length / 32),
      factors: arena.alloc(x.length / 64),
    };
    quantizeEdenMxfp4(parts, input, x.length, key, firstElement);
    return {
      elements: arena.u8(parts.elements, x.length / 2).slice(),
      scales: arena.u8(parts.scales, x.length / 32).slice(),
      factors: arena.u8(parts.factors, x.length / 64).slice(),
    };
  });
}

export function dequantizeEden(eden: Eden): Float32Array {
  const { arena } = kernels();
  const length = eden.elements.length * 2;
  return arena.scope(() => {
    const parts = {
      elements: arena.copyIn(eden.elements),
      scales: arena.copyIn(eden.scales),
      factors: arena.copyIn(eden.factors),
    };
    const out = arena.allocF32(length);
    dequantizeEdenMxfp4(out, parts, length);
    return arena.f32(out, length).slice();
  });
}

export function signs(
  segmentLength: SegmentLength,
  key: NoiseKey,
): Float32Array {
  const { arena } = kernels();
  return arena.scope(() => {
    const out = arena.allocF32(segmentLength);
    drawSigns(out, segmentLength, key);
    return arena.f32(out, segmentLength).slice();
  });
}

export function rotate(
  x: Float32Array,
  signVector: Float32Array,
  direction: "forward" | "inverse" = "forward",
): Float32Array {
  const { arena } = kernels();
  const segmentLength = signVector.length as SegmentLength;
  return arena.scope(() => {
    const source = arena.copyIn(x);
    const vector = arena.copyIn(signVector);
    const transform =
      direction === "forward" ? hadamardTransform : hadamardInverse;
    transform(source, x.length, segmentLength, vector);
    return arena.f32(source, x.length).slice();
  });
}

/**
 * The product of two operands in the form that files have. Packing quantizes values that MXFP4 holds
 * already, to nearest: exactly.
 */
export function multiply(
  a: Quantized,
  b: Quantized,
  m: number,
  n: number,
  k: number,
  factor: number,
  form: DotForm = fastestDotForm(),
): Float32Array {
  const { arena } = kernels();
  const [left, right] = [dequantize(a, 1), dequantize(b, 1)];
  return arena.scope(() => {
    const aPanel = packMxfp4("a", byRows(arena.copyIn(left), k), m, k, {});
    const bPanel = packMxfp4("b", byRows(arena.copyIn(right), k), n, k, {});
    const out = arena.allocF32(m * n);
    matmulMxfp4(out, aPanel, bPanel, m, n, k, factor, form);
    return arena.f32(out, m * n).slice();
  });
}
