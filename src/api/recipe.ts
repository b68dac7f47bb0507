/** How one product computes: MXFP4 with a random Hadamard transform (rht) and stochastic rounding (sr) or without. */
export const GEMM_RECIPES = [
  "f32",
  "bf16",
  "mxfp4",
  "mxfp4-rht",
  "mxfp4-sr",
  "mxfp4-rht-sr",
] as const;

export type GemmRecipe = (typeof GEMM_RECIPES)[number];

/**
 * How the linear layers compute. The forward pass is f32 for recipe `f32`, 6-bit integers for one that
 * begins with `int6`, and bf16 for all others; the rest of a name says what the two backward GEMMs do.
 */
export const RECIPES = [...GEMM_RECIPES, "int6-mxfp4-rht-sr"] as const;

export type Recipe = (typeof RECIPES)[number];
