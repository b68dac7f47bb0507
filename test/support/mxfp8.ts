/** The MXFP8 kernels on plain arrays: copy in, run, copy out. */
import {
  dequantizeMxfp8,
  type Float8Type,
  type Mxfp8Quantizer,
  quantizeMxfp8,
} from "../../src/kernels/mxfp8.ts";
import { kernels } from "../../src/kernels/runtime.ts";
import type { Quantized } from "../reference/mxfp4.ts";

export function quantize(
  input: Float32Array,
  type: Float8Type,
  quantizer: Mxfp8Quantizer,
): Quantized {
  const { arena } = kernels();
  return arena.scope(() => {
    const source = arena.copyIn(input);
    const elements = arena.alloc(input.length);
    const scales = arena.alloc(input.length / 32);
    quantizeMxfp8(elements, scales, source, input.length, type, quantizer);
    return {
      elements: arena.u8(elements, input.length).slice(),
      scales: arena.u8(scales, input.length / 32).slice(),
    };
  });
}

export function dequantize(
  quantized: Quantized,
  type: Float8Type,
): Float32Array {
  const { arena } = kernels();
  const { length } = quantized.elements;
  return arena.scope(() => {
    const elements = arena.copyIn(quantized.elements);
    const scales = arena.copyIn(quantized.scales);
    const out = arena.allocF32(length);
    dequantizeMxfp8(out, elements, scales, length, type);
    return arena.f32(out, length).slice();
  });
}
