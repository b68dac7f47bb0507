/** What writing text knows of a model, whatever its architecture: its weights by name, and one pass over new tokens. */
import { AppError } from "../api/errors.ts";
import type { TiedHead } from "../checkpoints/model-tensors.ts";
import type { Pointer } from "../kernels/arena.ts";
import type { KeyValueCache } from "./key-value-cache.ts";

/**
 * A tensor as files have it. A matrix [out, in] lies by `rows`, one [in, out] by `columns`; both are multiplied, and may
 * be packed. `values` stay f32.
 */
export type WeightTensor = {
  name: string;
  shape: readonly number[];
  kind: "rows" | "columns" | "values";
};

/** The tensors of a model that are in memory, wherever and in whatever format. */
export interface DecoderWeights {
  /** out[t] = the matrix · x[t]. out f32 [tokens, rows]; x f32 [tokens, columns]. */
  multiply(out: Pointer, name: string, x: Pointer, tokens: number): void;
  /** out = a row of a matrix [rows, columns]. out f32 [columns]. */
  row(out: Pointer, name: string, row: number): void;
  /** f32 of `values`, all or `length` from `start` on, in the caller's scope. */
  values(name: string, start?: number, length?: number): Pointer;
}

export interface Decoder {
  readonly context: number;
  readonly vocabulary: number;
  readonly layers: number;
  /** Of one layer's keys, and of its values, for each position. */
  readonly cacheWidth: number;
  readonly tensors: readonly WeightTensor[];
  /** With which names may begin in a file, or not. */
  readonly prefix: string;
  /** What a file may hold besides. */
  readonly notRead: RegExp;
  readonly tiedHead: TiedHead | undefined;

  /**
   * Takes `tokens` in, whose keys and values go behind those that `cache` has. Gives the logits after the last one,
   * f32 [vocabulary], copied out. Token by token or all at once: the same bytes.
   */
  forward(
    weights: DecoderWeights,
    cache: KeyValueCache,
    tokens: readonly number[],
  ): Float32Array<ArrayBuffer>;
}

/** Errors: `invalid_number`, there is no row for it */
export function checkToken(token: number, vocabulary: number): void {
  if (Number.isSafeInteger(token) && token >= 0 && token < vocabulary) return;
  throw new AppError(
    "invalid_number",
    `Expected tokens from 0 to ${vocabulary - 1}, got ${token}`,
  );
}
