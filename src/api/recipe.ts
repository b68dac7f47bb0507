/**
 * Recipes are data: what each of them does stands beside its name, and nothing is read out of the name.
 * A product is described by its operands; all factors follow from how those are quantized.
 */

/** How one operand of a product, or a gradient on the wire, becomes MXFP4 (floor scale). */
export type Mxfp4Quantizer = {
  rounding: "nearest-even" | "stochastic";
  /** Multiplies the values before they are quantized. */
  prescale: 1 | 0.75;
  /** Multiplies what was quantized, so that it is as large as the values again. */
  correction: number;
};

/** Algorithm 1 of arXiv 2502.20586. */
export const ALGORITHM_1: Mxfp4Quantizer = {
  rounding: "nearest-even",
  prescale: 1,
  correction: 1,
};

/** Algorithm 2: nothing clips, and the mean is the value. */
export const ALGORITHM_2: Mxfp4Quantizer = {
  rounding: "stochastic",
  prescale: 0.75,
  correction: 4 / 3,
};

/** f32 products of f32 operands, which may be rounded to bf16. */
export type DenseProduct = { format: "f32" | "bf16" };
/** Integers of 6 bits, an f32 scale for each 64 of k. */
export type Int6Product = { format: "int6" };
export type Mxfp4Product = {
  format: "mxfp4";
  /** Length of the segments that a random Hadamard transform rotates; 0 for none. */
  rotation: 0 | 64;
  a: Mxfp4Quantizer;
  b: Mxfp4Quantizer;
};

/** What undoes the prescales of a product's operands; 16/9 for two of Algorithm 2. */
export function productFactor({ a, b }: Mxfp4Product): number {
  return a.correction * b.correction;
}

const F32: DenseProduct = { format: "f32" };
const BF16: DenseProduct = { format: "bf16" };
const INT6: Int6Product = { format: "int6" };

const mxfp4 = (
  rotation: Mxfp4Product["rotation"],
  quantizer: Mxfp4Quantizer,
): Mxfp4Product => ({
  format: "mxfp4",
  rotation,
  a: quantizer,
  b: quantizer,
});

/** How one product computes: a random Hadamard transform (rht) and stochastic rounding (sr), or without. */
export const GEMM_RECIPES = {
  f32: F32,
  bf16: BF16,
  mxfp4: mxfp4(0, ALGORITHM_1),
  "mxfp4-rht": mxfp4(64, ALGORITHM_1),
  "mxfp4-sr": mxfp4(0, ALGORITHM_2),
  "mxfp4-rht-sr": mxfp4(64, ALGORITHM_2),
} as const satisfies Record<string, DenseProduct | Mxfp4Product>;

export type GemmRecipe = keyof typeof GEMM_RECIPES;
export const GEMM_RECIPE_NAMES = Object.keys(GEMM_RECIPES) as GemmRecipe[];

/** How a model computes in training. */
export type RecipeDescription = {
  /** As trainers get the f32 masters. */
  parameters: "f32" | "bf16";
  /** Of linear layers: y = x · W. */
  forward: DenseProduct | Int6Product;
  /** dX = dY · Wᵀ; a is dY, b is W. */
  dInput: DenseProduct | Mxfp4Product;
  /** dW = xᵀ · dY; a is x, b is dY. */
  dWeight: DenseProduct | Mxfp4Product;
  /** All three products of the output head. */
  head: DenseProduct;
};

const ALL_F32: RecipeDescription = {
  parameters: "f32",
  forward: F32,
  dInput: F32,
  dWeight: F32,
  head: F32,
};

/** bf16 but for the backward pass of the linear layers. */
const backward = (product: DenseProduct | Mxfp4Product): RecipeDescription => ({
  parameters: "bf16",
  forward: BF16,
  dInput: product,
  dWeight: product,
  head: BF16,
});

export const RECIPES = {
  f32: ALL_F32,
  bf16: backward(BF16),
  mxfp4: backward(GEMM_RECIPES.mxfp4),
  "mxfp4-rht": backward(GEMM_RECIPES["mxfp4-rht"]),
  "mxfp4-sr": backward(GEMM_RECIPES["mxfp4-sr"]),
  "mxfp4-rht-sr": backward(GEMM_RECIPES["mxfp4-rht-sr"]),
  "int6-mxfp4-rht-sr": {
    ...backward(GEMM_RECIPES["mxfp4-rht-sr"]),
    forward: INT6,
  },
} as const satisfies Record<string, RecipeDescription>;

export type Recipe = keyof typeof RECIPES;
export const RECIPE_NAMES = Object.keys(RECIPES) as Recipe[];
