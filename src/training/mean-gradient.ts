/**
 * The mean of a step's gradients in a shard, and its squared norms. Both are computed slice by slice, so their memory
 * depends neither on the shard's length nor on the number of microbatches.
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

/** Elements per slice: 512 KiB of f32, a whole number of chunks. Pushes are stored in these units. */
export const SLICE_LENGTH = 32 * CHUNK_LENGTH;

/** Returns the stored payload of one slice: of a microbatch's gradient, or of a subtree's sum. */
export type ReadSlice = (microbatch: number, slice: number) => Uint8Array;

/**
 * Writes a slice of the step's mean gradient (or of a sum) to f32 `out` [length]; `from` is relative to the shard's
 * start.
 */
export type MeanGradient = (out: Pointer, from: number, length: number) => void;

/** The mean over the step's pushed gradients. */
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

/** The sum over the pushed gradients of a subtree's microbatches. */
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

/** The mean gradient from what a shard's log holds: the microbatches' gradients, or the f32 sums of subtrees. */
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

/** The dtype of the gradients or sums in a shard's log. */
export function loggedDtype({ subtree, gradientDtype }: RunConfig): WireDtype {
  return subtree ? "f32" : gradientDtype;
}

/** Decodes what `read` returns: f32, padding zero. */
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

/** The mean gradient that `squaredNorms` stored in `values`. */
export function keptGradient(values: Float32Array): MeanGradient {
  return (out, from, length) =>
    kernels()
      .arena.f32(out, length)
      .set(values.subarray(from, from + length));
}

/**
 * Σ g² in f64 of each chunk of the mean gradient, in order. If `keep` f32 [length of the shard] is given, the
 * gradient is stored there.
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
