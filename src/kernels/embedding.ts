/** Embedding: tokens to vectors. */
import type { Pointer } from "./arena.ts";
import { kernels } from "./runtime.ts";
import { type SequenceShape, checkSequences } from "./token-shape.ts";

/** The kernels' null pointer. */
const NONE: Pointer = 0;

/**
 * out[b, t] = tokenEmbedding[tokens[b, t]] + positionEmbedding[t], without the latter if it is undefined. out f32 [B,
 * T, C]; tokens i32 [B, T].
 */
export function embeddingForward(
  out: Pointer,
  tokens: Pointer,
  tokenEmbedding: Pointer,
  positionEmbedding: Pointer | undefined,
  shape: SequenceShape,
): void {
  const { sequences, length, width } = checkSequences(shape);
  kernels().exports.embeddingForwardF32(
    out,
    tokens,
    tokenEmbedding,
    positionEmbedding ?? NONE,
    sequences,
    length,
    width,
  );
}

/** Adds to both gradients, or only to that of the tokens. dOut f32 [B, T, C]. */
export function embeddingBackward(
  dTokenEmbedding: Pointer,
  dPositionEmbedding: Pointer | undefined,
  dOut: Pointer,
  tokens: Pointer,
  shape: SequenceShape,
): void {
  const { sequences, length, width } = checkSequences(shape);
  kernels().exports.embeddingBackwardF32(
    dTokenEmbedding,
    dPositionEmbedding ?? NONE,
    dOut,
    tokens,
    sequences,
    length,
    width,
  );
}
