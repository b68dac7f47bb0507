import { biasBackwardF32 } from "./bias";

/**
 * out[b, t] = tokenEmbedding[tokens[b, t]] + positionEmbedding[t]
 *
 * Shapes:   out f32 [B, T, C]; tokens i32 [B, T]; tokenEmbedding f32 [V, C];
 *           positionEmbedding f32 [≥ T, C], or 0 for models without
 * Requires: every token in 0 … V − 1 (the model checks it)
 */
export function embeddingForwardF32(
  out: usize,
  tokens: usize,
  tokenEmbedding: usize,
  positionEmbedding: usize,
  sequences: i32,
  length: i32,
  width: i32,
): void {
  assert(sequences >= 0 && length >= 0 && width >= 0, "sizes must not be negative");

  const rowBytes = <usize>width << 2;
  for (let sequence = 0; sequence < sequences; sequence++) {
    let position = positionEmbedding;
    for (let t = 0; t < length; t++) {
      const token = load<i32>(tokens);
      assert(token >= 0, "token must not be negative");
      memory.copy(out, tokenEmbedding + <usize>token * rowBytes, rowBytes);
      if (positionEmbedding) biasBackwardF32(out, position, 1, width);
      out += rowBytes;
      tokens += 4;
      position += rowBytes;
    }
  }
}

/**
 * dTokenEmbedding[tokens[b, t]] += dOut[b, t];  dPositionEmbedding[t] += dOut[b, t], in order.
 *
 * Shapes:   as in `embeddingForwardF32`
 */
export function embeddingBackwardF32(
  dTokenEmbedding: usize,
  dPositionEmbedding: usize,
  dOut: usize,
  tokens: usize,
  sequences: i32,
  length: i32,
  width: i32,
): void {
  assert(sequences >= 0 && length >= 0 && width >= 0, "sizes must not be negative");

  const rowBytes = <usize>width << 2;
  for (let sequence = 0; sequence < sequences; sequence++) {
    let dPosition = dPositionEmbedding;
    for (let t = 0; t < length; t++) {
      const token = load<i32>(tokens);
      assert(token >= 0, "token must not be negative");
      biasBackwardF32(dTokenEmbedding + <usize>token * rowBytes, dOut, 1, width);
      if (dPositionEmbedding) biasBackwardF32(dPosition, dOut, 1, width);
      dOut += rowBytes;
      tokens += 4;
      dPosition += rowBytes;
    }
  }
}
