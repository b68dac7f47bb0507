/** The layers of a GPT besides its matrix products. Forward and backward stand side by side. */
import type { Pointer } from "./arena.ts";
import { checkCount } from "./check.ts";
import { kernels } from "./runtime.ts";

/** Sizes of a batch of sequences: B, T, C. */
export type SequenceShape = {
  sequences: number;
  length: number;
  width: number;
};

/** out[b, t] = tokenEmbedding[tokens[b, t]] + positionEmbedding[t]. out f32 [B, T, C]; tokens i32 [B, T]. */
export function embeddingForward(
  out: Pointer,
  tokens: Pointer,
  tokenEmbedding: Pointer,
  positionEmbedding: Pointer,
  shape: SequenceShape,
): void {
  const { sequences, length, width } = checkSequences(shape);
  kernels().exports.embeddingForwardF32(
    out,
    tokens,
    tokenEmbedding,
    positionEmbedding,
    sequences,
    length,
    width,
  );
}

/** Adds to both gradients. dOut f32 [B, T, C]. */
export function embeddingBackward(
  dTokenEmbedding: Pointer,
  dPositionEmbedding: Pointer,
  dOut: Pointer,
  tokens: Pointer,
  shape: SequenceShape,
): void {
  const { sequences, length, width } = checkSequences(shape);
  kernels().exports.embeddingBackwardF32(
    dTokenEmbedding,
    dPositionEmbedding,
    dOut,
    tokens,
    sequences,
    length,
    width,
  );
}

/** Every row of `out` = bias. out f32 [rows, columns]; bias f32 [columns]. */
export function biasForward(
  out: Pointer,
  bias: Pointer,
  rows: number,
  columns: number,
): void {
  checkCount("rows", rows);
  checkCount("columns", columns);
  kernels().exports.biasForwardF32(out, bias, rows, columns);
}

/** dBias += the sum of dOut's rows. dBias f32 [columns]; dOut f32 [rows, columns]. */
export function biasBackward(
  dBias: Pointer,
  dOut: Pointer,
  rows: number,
  columns: number,
): void {
  checkCount("rows", rows);
  checkCount("columns", columns);
  kernels().exports.biasBackwardF32(dBias, dOut, rows, columns);
}

/** What a LayerNorm keeps of each row for its backward pass: f32 [rows] each. */
export type RowMoments = { mean: Pointer; rstd: Pointer };

/** A LayerNorm's parameters, or their gradients: f32 [width] each. */
export type LayerNormParameters = { weight: Pointer; bias: Pointer };

/** out = (x − mean) · rstd · weight + bias, epsilon 1e-5. out, x f32 [rows, width]. */
export function layerNormForward(
  out: Pointer,
  moments: RowMoments,
  x: Pointer,
  parameters: LayerNormParameters,
  rows: number,
  width: number,
): void {
  checkCount("rows", rows);
  checkCount("width", width);
  kernels().exports.layerNormForwardF32(
    out,
    moments.mean,
    moments.rstd,
    x,
    parameters.weight,
    parameters.bias,
    rows,
    width,
  );
}

/** Adds to `dX` and to both gradients. dX, dOut, x f32 [rows, width]. */
export function layerNormBackward(
  dX: Pointer,
  gradients: LayerNormParameters,
  dOut: Pointer,
  x: Pointer,
  moments: RowMoments,
  weight: Pointer,
  rows: number,
  width: number,
): void {
  checkCount("rows", rows);
  checkCount("width", width);
  kernels().exports.layerNormBackwardF32(
    dX,
    gradients.weight,
    gradients.bias,
    dOut,
    x,
    moments.mean,
    moments.rstd,
    weight,
    rows,
    width,
  );
}

/** out = gelu(x), tanh form. f32 [length] each; `out` may be `x`. */
export function geluForward(out: Pointer, x: Pointer, length: number): void {
  checkCount("length", length);
  kernels().exports.geluForwardF32(out, x, length);
}

/** dX = dOut · gelu′(x). f32 [length] each; `dX` may be `dOut`. */
export function geluBackward(
  dX: Pointer,
  dOut: Pointer,
  x: Pointer,
  length: number,
): void {
  checkCount("length", length);
  kernels().exports.geluBackwardF32(dX, dOut, x, length);
}

/** Causal attention of `heads` heads. out f32 [B, T, C]; logSumExp f32 [B, heads, T]; qkv f32 [B, T, 3C]. */
export function attentionForward(
  out: Pointer,
  logSumExp: Pointer,
  qkv: Pointer,
  shape: SequenceShape,
  heads: number,
): void {
  const { sequences, length, width } = checkSequences(shape);
  checkCount("width / heads", width / heads);
  const { arena, exports } = kernels();
  arena.scope(() => {
    const headWidth = width / heads;
    const scratch = arena.alloc(
      exports.attentionScratchBytes(length, headWidth),
    );
    exports.attentionForwardF32(
      out,
      logSumExp,
      qkv,
      scratch,
      sequences,
      length,
      heads,
      headWidth,
    );
  });
}

/** Overwrites dQkv f32 [B, T, 3C]; dOut f32 [B, T, C]; the others as the forward pass left them. */
export function attentionBackward(
  dQkv: Pointer,
  dOut: Pointer,
  qkv: Pointer,
  logSumExp: Pointer,
  shape: SequenceShape,
  heads: number,
): void {
  const { sequences, length, width } = checkSequences(shape);
  checkCount("width / heads", width / heads);
  const { arena, exports } = kernels();
  arena.scope(() => {
    const headWidth = width / heads;
    const scratch = arena.alloc(
      exports.attentionScratchBytes(length, headWidth),
    );
    exports.attentionBackwardF32(
      dQkv,
      dOut,
      qkv,
      logSumExp,
      scratch,
      sequences,
      length,
      heads,
      headWidth,
    );
  });
}

/**
 * The sum of cross-entropies in nats, in f64, over rows whose target is not −1.
 * logSumExp f32 [rows], kept; logits f32 [rows, vocabulary]; targets i32 [rows].
 */
export function softmaxCrossEntropyForward(
  logSumExp: Pointer,
  logits: Pointer,
  targets: Pointer,
  rows: number,
  vocabulary: number,
): number {
  checkCount("rows", rows);
  checkCount("vocabulary", vocabulary);
  return kernels().exports.softmaxCrossEntropyForwardF32(
    logSumExp,
    logits,
    targets,
    rows,
    vocabulary,
  );
}

/** dLogits = (softmax(logits) − onehot(targets)) · gradientScale; `dLogits` may be `logits`. */
export function softmaxCrossEntropyBackward(
  dLogits: Pointer,
  logits: Pointer,
  logSumExp: Pointer,
  targets: Pointer,
  rows: number,
  vocabulary: number,
  gradientScale: number,
): void {
  checkCount("rows", rows);
  checkCount("vocabulary", vocabulary);
  kernels().exports.softmaxCrossEntropyBackwardF32(
    dLogits,
    logits,
    logSumExp,
    targets,
    rows,
    vocabulary,
    gradientScale,
  );
}

/** out = e^x. f32 [length] each; `out` may be `x`. */
export function exp(out: Pointer, x: Pointer, length: number): void {
  checkCount("length", length);
  kernels().exports.expF32(out, x, length);
}

function checkSequences(shape: SequenceShape): SequenceShape {
  checkCount("sequences", shape.sequences);
  checkCount("length", shape.length);
  checkCount("width", shape.width);
  return shape;
}
