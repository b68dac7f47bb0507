/** What a block format is to all that quantizes, decodes and judges: numbers, and three kernels. */
import type { Scheme } from "../../api/scheme.ts";
import type { Pointer } from "../../kernels/arena.ts";
import type { StochasticRounding } from "../../kernels/mx.ts";
import type { Counts } from "../../kernels/statistics.ts";

/** A piece in the kernels' memory: element codes in order, and a scale byte for each block. */
export type Packed = { elements: Pointer; scales: Pointer };

/** A scheme whose rounding names its noise, if it has any. */
type BlockScheme = Omit<Scheme, "rounding"> & {
  rounding:
    { mode: Exclude<Scheme["rounding"], "stochastic"> } | StochasticRounding;
};

/** Blocks of 32 (OCP MX v1.0). Kernels are called inside `arena.scope`. */
export type BlockFormat = {
  /** Of one block, its scale apart. */
  elementBytes: number;
  /** The largest magnitude of an element, for messages. */
  max: number;
  /** What is wrong with a scheme that is not of this format; undefined where it is. */
  refusal(scheme: Scheme): [expected: string, got: string] | undefined;
  /** Of f32 [count] at `x`. */
  quantize(to: Packed, x: Pointer, count: number, scheme: BlockScheme): void;
  /** The values times `factor`, as f32 [count] to `out`. */
  dequantize(out: Pointer, from: Packed, count: number, factor: number): void;
  /** What quantizing f32 [count] at `x` did to single elements. */
  count(
    x: Pointer,
    packed: Packed,
    count: number,
    prescale: Scheme["prescale"],
  ): Counts;
};
