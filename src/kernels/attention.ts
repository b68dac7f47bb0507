/** Attention, and the rotary embedding of queries and keys. */
import type { Pointer } from "./arena.ts";
import { checkCount, checkMultiple } from "./check.ts";
import { kernels } from "./runtime.ts";
import { type TokenShape, checkTokens } from "./token-shape.ts";

/** Cosines and sines of the angle for each position and channel pair: f32 [T, D / 2] each. */
export type Angles = { cosines: Pointer; sines: Pointer };

/** Rotates adjacent heads in place. x f32 [B, T, heads, D], tokens `stride` apart. */
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

/** Rotates their gradient back, in place. */
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

/** The heads of attention; `groups` of them share keys and values. */
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

/** Overwrites dQkv, f32 of the shape of qkv; dOut f32 [B, T, heads · D]; the others as the forward pass left them. */
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

function checkHeads(cut: Heads): Heads {
  checkCount("heads", cut.heads);
  checkCount("groups", cut.groups);
  checkCount("headWidth", cut.headWidth);
  checkMultiple("heads", cut.heads, cut.groups);
  return cut;
}
