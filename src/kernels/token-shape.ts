/** Sizes of tensors over tokens, and their checks. */
import { checkCount } from "./check.ts";

/** Sizes of a batch of sequences: B, T. */
export type TokenShape = { sequences: number; length: number };

/** The same with the number of channels: C. */
export type SequenceShape = TokenShape & { width: number };

export function checkTokens<Shape extends TokenShape>(shape: Shape): Shape {
  checkCount("sequences", shape.sequences);
  checkCount("length", shape.length);
  return shape;
}

export function checkSequences(shape: SequenceShape): SequenceShape {
  checkCount("width", shape.width);
  return checkTokens(shape);
}
