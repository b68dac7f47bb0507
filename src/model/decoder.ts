/** The interface of text generation to a model: its weights by name, and a forward pass over new tokens. */
import { AppError } from "../api/errors.ts";
import type { FusedLayers } from "../checkpoints/fused-tensors.ts";
import type { TiedHead } from "../checkpoints/model-tensors.ts";
import type { Pointer } from "../kernels/arena.ts";
import type { KeyValueCache } from "./key-value-cache.ts";

/**
 * A tensor as stored in files. A matrix is `rows` if [out, in] and `columns` if [in, out]; both may be quantized.
 * `values` stay f32.
 */
export type WeightTensor = {
  name: string;
  shape: readonly number[];
  kind: "rows" | "columns" | "values";
};

/** A model's loaded tensors, in any format. */
export interface DecoderWeights {
  /** out[t] = the matrix · x[t]. out f32 [tokens, rows]; x f32 [tokens, columns]. */
  multiply(out: Pointer, name: string, x: Pointer, tokens: number): void;
  /** out = a row of a matrix [rows, columns]. out f32 [columns]. */
  row(out: Pointer, name: string, row: number): void;
  /** f32 of a `values` tensor, all or `length` from `start` on, in the caller's arena scope. */
  values(name: string, start?: number, length?: number): Pointer;
}

export interface Decoder {
  readonly context: number;
  readonly vocabulary: number;
  readonly layers: number;
  /** Width of a layer's keys, and of its values, per position. */
  readonly cacheWidth: number;
  readonly tensors: readonly WeightTensor[];
  /** Prefix that names in a file may have or lack. */
  readonly prefix: string;
  /** Names that are ignored in a file. */
  readonly notRead: RegExp;
  readonly tiedHead: TiedHead | undefined;
  /** Layers that a file may store as one. */
  readonly fused: FusedLayers;

  /**
   * Processes `tokens`, and appends their keys and values to `cache`. Returns the logits after the last one, f32
   * [vocabulary], copied. Token by token or all at once: the same bytes.
   */
  forward(
    weights: DecoderWeights,
    cache: KeyValueCache,
    tokens: readonly number[],
  ): Float32Array<ArrayBuffer>;
}

/** Errors: `invalid_number` for a token outside the vocabulary */
export function checkToken(token: number, vocabulary: number): void {
  if (Number.isSafeInteger(token) && token >= 0 && token < vocabulary) return;
  throw new AppError(
    "invalid_number",
    `Expected tokens from 0 to ${vocabulary - 1}, got ${token}`,
  );
}
