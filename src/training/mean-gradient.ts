/**
 * The mean of a step's gradients in a shard, and its squared norms. Both go through the range slice by slice,
 * so their memory depends on neither its length nor the number of microbatches.
 */
import type { RunConfig, WireDtype } from "../api/run-config.ts";
import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import { sumSquares } from "../kernels/vector.ts";
import { CHUNK_LENGTH, paddingRanges } from "../model/parameters.ts";
import { decodeGradient } from "./gradient.ts";
import {
  type ReadGradient,
  reduceGradients,
  sumGradients,
} from "./reduction.ts";
import type { ShardGeometry } from "./shard-state.ts";
import { type Neighbours, subtreesOf } from "./subtrees.ts";

/** Elements of one slice: 512 KiB of f32. Whole chunks, and the unit in which pushes are stored. */
export const SLICE_LENGTH = 32 * CHUNK_LENGTH;

/** The stored payload of one slice of one microbatch's gradient, or of one subtree's sum. */
export type ReadSlice = (microbatch: number, slice: number) => Uint8Array;

/** Writes the step's mean gradient of a slice, or a sum of it, to f32 `out` [length], `from` the shard's start. */
export type MeanGradient = (out: Pointer, from: number, length: number) => void;

/** The mean of what was pushed, decoded and reduced. */
export function reducedGradient(
  geometry: ShardGeometry,
  step: number,
  read: ReadSlice,
): MeanGradient {
  const { microbatches, gradientDtype } = geometry.config;
  const decoded = decoding(geometry, step, gradientDtype, read);
  return (out, from, length) =>
    reduceGradients(out, length, microbatches, decoded(from, length));
}

/** The sum of what was pushed of neighbours, which make up a subtree. */
export function summedGradient(
  geometry: ShardGeometry,
  step: number,
  { first, count }: Neighbours,
  read: ReadSlice,
): MeanGradient {
  const { gradientDtype } = geometry.config;
  const decoded = decoding(geometry, step, gradientDtype, read);
  return (out, from, length) =>
    sumGradients(out, length, first, count, decoded(from, length));
}

/** The mean of what a shard's log has of a step: of its microbatches, or of the sums of subtrees, f32. */
export function loggedGradient(
  geometry: ShardGeometry,
  step: number,
  read: ReadSlice,
): MeanGradient {
  const { config } = geometry;
  if (!config.subtree) return reducedGradient(geometry, step, read);
  const { length: count } = subtreesOf(config);
  const decoded = decoding(geometry, step, loggedDtype(config), read);
  return (out, from, length) =>
    reduceGradients(
      out,
      length,
      count,
      decoded(from, length),
      config.microbatches,
    );
}

/** How the log has them. */
export function loggedDtype({ subtree, gradientDtype }: RunConfig): WireDtype {
  return subtree ? "f32" : gradientDtype;
}

/** Of `read`, what writes a slice of it in f32, its padding zero. */
function decoding(
  { config: { seed }, table, range }: ShardGeometry,
  step: number,
  dtype: WireDtype,
  read: ReadSlice,
): (from: number, length: number) => ReadGradient {
  return (from, length) => {
    const padding = paddingRanges(table, range.start + from, length);
    return (part, microbatch) => {
      const payload = read(microbatch, from / SLICE_LENGTH);
      const key = { seed, step, microbatch };
      decodeGradient(part, dtype, payload, length, key, padding);
    };
  };
}

/** The mean that `squaredNorms` has left in `values`. */
export function keptGradient(values: Float32Array): MeanGradient {
  return (out, from, length) =>
    kernels()
      .arena.f32(out, length)
      .set(values.subarray(from, from + length));
}

/**
 * Σ g² in f64 of each chunk of the mean gradient, in order. The gradient itself stays in `keep`, f32
 * [length of the shard], where there is room for it.
 */
export function squaredNorms(
  geometry: ShardGeometry,
  mean: MeanGradient,
  keep?: Float32Array,
): Float64Array<ArrayBuffer> {
  const norms = new Float64Array(
    Math.ceil(geometry.range.length / CHUNK_LENGTH),
  );
  let chunk = 0;
  eachSlice(geometry, mean, (gradient, from, length) => {
    keep?.set(kernels().arena.f32(gradient, length), from);
    for (let done = 0; done < length; done += CHUNK_LENGTH) {
      const part = Math.min(CHUNK_LENGTH, length - done);
      norms[chunk++] = sumSquares(gradient + 4 * done, part);
    }
  });
  return norms;
}

/** Calls `body` with the mean gradient of each slice, `from` relative to the shard's start. */
export function eachSlice(
  { range }: ShardGeometry,
  mean: MeanGradient,
  body: (gradient: Pointer, from: number, length: number) => void,
): void {
  const { arena } = kernels();
  for (let from = 0; from < range.length; from += SLICE_LENGTH) {
    const length = Math.min(SLICE_LENGTH, range.length - from);
    arena.scope(() => {
      const gradient = arena.allocF32(length);
      mean(gradient, from, length);
      body(gradient, from, length);
    });
  }
}
