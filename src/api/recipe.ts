/**
 * How the linear layers compute. The forward pass is f32 for recipe `f32` and bf16 for all others;
 * the rest of a name says what the two backward GEMMs do: MXFP4 operands, with a random Hadamard
 * transform (rht) and stochastic rounding (sr) or without.
 */
export const RECIPES = [
  "f32",
  "bf16",
  "mxfp4",
  "mxfp4-rht",
  "mxfp4-sr",
  "mxfp4-rht-sr",
] as const;

export type Recipe = (typeof RECIPES)[number];
