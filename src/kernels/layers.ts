/** The layers of a model besides its matrix products. Forward and backward stand side by side. */
import type { Pointer } from "./arena.ts";
import { checkCount, checkMultiple } from "./check.ts";
import { kernels } from "./runtime.ts";

/** Sizes of a batch of sequences: B, T. */
type TokenShape = { sequences: number; length: number };

/** And of what stands at each token: C. */
export type SequenceShape = TokenShape & { width: number };

/** Where the kernels find nothing: below it lie their tables. */
const NONE: Pointer = 0;

/**
 * out[b, t] = tokenEmbedding[tokens[b, t]] + positionEmbedding[t], where positions have one. out f32 [B, T, C];
 * tokens i32 [B, T].
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

/** Adds to both gradients, or the one that there is. dOut f32 [B, T, C]. */
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

/** out = x · rstd · weight, rstd = 1 / √(mean(x²) + epsilon), kept. out, x f32 [rows, width], `stride` apart; rstd f32 [rows]. */
export function rmsNormForward(
  out: Pointer,
  rstd: Pointer,
  x: Pointer,
  weight: Pointer,
  rows: number,
  width: number,
  epsilon: number,
  stride = width,
): void {
  checkCount("rows", rows);
  checkCount("width", width);
  kernels().exports.rmsNormForwardF32(
    out,
    rstd,
    x,
    weight,
    rows,
    width,
    stride,
    epsilon,
  );
}

/** Adds to `dX` and to dWeight. dX, dOut, x f32 [rows, width], `stride` apart. */
export function rmsNormBackward(
  dX: Pointer,
  dWeight: Pointer,
  dOut: Pointer,
  x: Pointer,
  rstd: Pointer,
  weight: Pointer,
  rows: number,
  width: number,
  stride = width,
): void {
  checkCount("rows", rows);
  checkCount("width", width);
  kernels().exports.rmsNormBackwardF32(
    dX,
    dWeight,
    dOut,
    x,
    rstd,
    weight,
    rows,
    width,
    stride,
  );
}

/** Of each position and pair of a head's channels: f32 [T, D / 2] each. */
export type Angles = { cosines: Pointer; sines: Pointer };

/** Turns heads, which lie side by side, in place. x f32 [B, T, heads, D], tokens `stride` apart. */
export function rotaryForward(
  x: Pointer,
  angles: Angles,
  shape: TokenShape,
  heads: number,
  headWidth: number,
  stride: number,
): void {
  const { rotaryForwardF32 } = kernels().exports;
  rotaryEach(rotaryForwardF32, x, angles, shape, heads, headWidth, stride);
}

/** Turns their gradient back, in place. */
export function rotaryBackward(
  dX: Pointer,
  angles: Angles,
  shape: TokenShape,
  heads: number,
  headWidth: number,
  stride: number,
): void {
  const { rotaryBackwardF32 } = kernels().exports;
  rotaryEach(rotaryBackwardF32, dX, angles, shape, heads, headWidth, stride);
}

/** Each sequence begins at the first position. */
function rotaryEach(
  kernel: ReturnType<typeof kernels>["exports"]["rotaryForwardF32"],
  x: Pointer,
  { cosines, sines }: Angles,
  { sequences, length }: TokenShape,
  heads: number,
  headWidth: number,
  stride: number,
): void {
  checkCount("sequences", sequences);
  checkCount("length", length);
  checkCount("heads", heads);
  checkMultiple("headWidth", headWidth, 2);
  for (let sequence = 0; sequence < sequences; sequence++) {
    const first = x + 4 * sequence * length * stride;
    kernel(first, cosines, sines, length, heads, headWidth, stride);
  }
}

/** out = gate · σ(gate) · up. out f32 [rows, width]; gate, up likewise, `stride` apart. */
export function swigluForward(
  out: Pointer,
  gate: Pointer,
  up: Pointer,
  rows: number,
  width: number,
  stride = width,
): void {
  checkCount("rows", rows);
  checkCount("width", width);
  kernels().exports.swigluForwardF32(out, gate, up, rows, width, stride);
}

/** The gradients of gate and up, which may take their places. dOut f32 [rows, width]; the others `stride` apart. */
export function swigluBackward(
  dGate: Pointer,
  dUp: Pointer,
  dOut: Pointer,
  gate: Pointer,
  up: Pointer,
  rows: number,
  width: number,
  stride = width,
): void {
  checkCount("rows", rows);
  checkCount("width", width);
  kernels().exports.swigluBackwardF32(
    dGate,
    dUp,
    dOut,
    gate,
    up,
    rows,
    width,
    stride,
  );
}

/** What attention is cut into: `groups` of heads share keys and values. */
export type Heads = { heads: number; groups: number; headWidth: number };

/**
 * Causal attention. out f32 [B, T, heads · D]; logSumExp f32 [B, heads, T]; qkv f32 [B, T, (heads + 2 · groups) · D],
 * queries, keys and values side by side.
 */
export function attentionForward(
  out: Pointer,
  logSumExp: Pointer,
  qkv: Pointer,
  shape: TokenShape,
  cut: Heads,
): void {
  const { sequences, length } = checkTokens(shape);
  const { heads, groups, headWidth } = checkHeads(cut);
  const { arena, exports } = kernels();
  arena.scope(() => {
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
      groups,
      headWidth,
    );
  });
}

/** Overwrites dQkv, f32 as qkv; dOut f32 [B, T, heads · D]; the others as the forward pass left them. */
export function attentionBackward(
  dQkv: Pointer,
  dOut: Pointer,
  qkv: Pointer,
  logSumExp: Pointer,
  shape: TokenShape,
  cut: Heads,
): void {
  const { sequences, length } = checkTokens(shape);
  const { heads, groups, headWidth } = checkHeads(cut);
  const { arena, exports } = kernels();
  arena.scope(() => {
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
      groups,
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

function checkTokens<Shape extends TokenShape>(shape: Shape): Shape {
  checkCount("sequences", shape.sequences);
  checkCount("length", shape.length);
  return shape;
}

function checkSequences(shape: SequenceShape): SequenceShape {
  checkCount("width", shape.width);
  return checkTokens(shape);
}

function checkHeads(cut: Heads): Heads {
  checkCount("heads", cut.heads);
  checkCount("groups", cut.groups);
  checkCount("headWidth", cut.headWidth);
  checkMultiple("heads", cut.heads, cut.groups);
  return cut;
}
