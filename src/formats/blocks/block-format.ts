/** The interface of a block format: sizes, and three kernels. */
import type { Scheme } from "../../api/scheme.ts";
import type { Pointer } from "../../kernels/arena.ts";
import type { StochasticRounding } from "../../kernels/mx.ts";
import type { Counts } from "../../kernels/statistics.ts";

/** A quantized piece in the kernels' memory: element codes in order, and a scale byte per block. */
export type Packed = { elements: Pointer; scales: Pointer };

/** A scheme; stochastic rounding includes its noise. */
type BlockScheme = Omit<Scheme, "rounding"> & {
  rounding:
    { mode: Exclude<Scheme["rounding"], "stochastic"> } | StochasticRounding;
};

/** Blocks of 32 (OCP MX v1.0). Kernels are called inside `arena.scope`. */
export type BlockFormat = {
  /** Bytes of a block's elements, without its scale. */
  elementBytes: number;
  /** The largest magnitude of an element, for messages. */
  max: number;
  /** What is wrong with a scheme for this format; undefined if nothing is. */
  refusal(scheme: Scheme): [expected: string, got: string] | undefined;
  /** Quantizes f32 [count] at `x`. */
  quantize(to: Packed, x: Pointer, count: number, scheme: BlockScheme): void;
  /** Dequantizes to f32 [count] at `out`, times `factor`. */
  dequantize(out: Pointer, from: Packed, count: number, factor: number): void;
  /** Counts elements of f32 [count] at `x` by what quantization did to them. */
  count(
    x: Pointer,
    packed: Packed,
    count: number,
    prescale: Scheme["prescale"],
  ): Counts;
};
