/**
 * Recipes as data: each name has an explicit description, and nothing is parsed from the name. A product is described
 * by the quantizers of its operands; all factors follow from them.
 */

/** Of Algorithm 2 of arXiv 2502.20586: scaled values never clip. */
const PRESCALE = 0.75;

/** How an operand of a product, or a gradient on the wire, is quantized to MXFP4 (floor scale). */
export type Mxfp4Quantizer = {
  rounding: "nearest-even" | "stochastic";
  /** Factor before quantizing. */
  prescale: 1 | typeof PRESCALE;
  /** Factor after quantizing, which restores the magnitude. */
  correction: number;
};

/** Algorithm 1 of arXiv 2502.20586. */
const ALGORITHM_1: Mxfp4Quantizer = {
  rounding: "nearest-even",
  prescale: 1,
  correction: 1,
};

/**
 * Algorithm 1 with Algorithm 2's prescale, so nothing clips. Rounding normal values to nearest E2M1 shrinks them by
 * 0.99104 on average; the correction undoes that, so for rotated values on the average over rotations.
 */
const ALIGNED: Mxfp4Quantizer = {
  rounding: "nearest-even",
  prescale: PRESCALE,
  correction: (1 / PRESCALE) * 1.00904,
};

/** Algorithm 2: no clipping, unbiased. */
export const ALGORITHM_2: Mxfp4Quantizer = {
  rounding: "stochastic",
  prescale: PRESCALE,
  correction: 1 / PRESCALE,
};

/** f32 products of f32 operands, or of operands rounded to bf16. */
export type DenseProduct = { format: "f32" | "bf16" };
/** 6-bit integers with an f32 scale per 64 elements along k. */
type Int6Product = { format: "int6" };
export type Mxfp4Product = {
  format: "mxfp4";
  /** Segment length of the random Hadamard transform; 0 for none. */
  rotation: Rotation;
  a: Mxfp4Quantizer;
  b: Mxfp4Quantizer;
};
/**
 * Rotation, MXFP4 to nearest, and an f32 factor per rotated segment of an operand, which corrects the shrinkage by
 * rounding (assembly/int6/pack-eden.ts).
 */
export type EdenProduct = { format: "eden"; rotation: 64 };
/** Products of integer panels. */
export type PanelProduct = Int6Product | Mxfp4Product | EdenProduct;
export type Product = DenseProduct | PanelProduct;

type Rotation = 0 | 32 | 64 | 128;

export function isDense(product: Product): product is DenseProduct {
  return product.format === "f32" || product.format === "bf16";
}

/** Undoes the prescales of both operands; 16/9 for two of Algorithm 2. */
export function productFactor({ a, b }: Mxfp4Product): number {
  return a.correction * b.correction;
}

const F32: DenseProduct = { format: "f32" };
const BF16: DenseProduct = { format: "bf16" };
const INT6: Int6Product = { format: "int6" };
const EDEN: EdenProduct = { format: "eden", rotation: 64 };

const mxfp4 = (
  rotation: Mxfp4Product["rotation"],
  a: Mxfp4Quantizer,
  b = a,
): Mxfp4Product => ({ format: "mxfp4", rotation, a, b });

/** Recipes of a single product: with or without random Hadamard transform (rht) and stochastic rounding (sr). */
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

/** The precision of a model's products in training. */
export type RecipeDescription = {
  /** Dtype in which trainers receive the f32 master parameters. */
  parameters: "f32" | "bf16";
  /** Linear layers: y = x · W; a is x, b is W. No rotation or stochastic rounding, whose seeds depend on the step. */
  forward: DenseProduct | Int6Product | Mxfp4Product;
  /** dX = dY · Wᵀ; a is dY, b is W. */
  dInput: Product;
  /** dW = xᵀ · dY; a is x, b is dY. */
  dWeight: Product;
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

/** bf16 except in the backward pass of the linear layers. */
const backward = (dInput: Product, dWeight = dInput): RecipeDescription => ({
  parameters: "bf16",
  forward: BF16,
  dInput,
  dWeight,
  head: BF16,
});

export const RECIPES = {
  f32: ALL_F32,
  bf16: backward(BF16),
  mxfp4: backward(GEMM_RECIPES.mxfp4),
  "mxfp4-rht": backward(GEMM_RECIPES["mxfp4-rht"]),
  "mxfp4-sr": backward(GEMM_RECIPES["mxfp4-sr"]),
  "mxfp4-rht-sr": backward(GEMM_RECIPES["mxfp4-rht-sr"]),
  "mxfp4-rht32-sr": backward(mxfp4(32, ALGORITHM_2)),
  "mxfp4-rht128-sr": backward(mxfp4(128, ALGORITHM_2)),
  /** Stochastic rounding of dY only; the other operand is rounded to nearest. */
  "mxfp4-rht-sr-dy": backward(
    mxfp4(64, ALGORITHM_2, ALIGNED),
    mxfp4(64, ALIGNED, ALGORITHM_2),
  ),
  "mxfp4-rht-pma": backward(mxfp4(64, ALIGNED)),
  "mxfp4-rht-eden": backward(EDEN),
  "int6-mxfp4-rht-sr": {
    ...backward(GEMM_RECIPES["mxfp4-rht-sr"]),
    forward: INT6,
  },
  "int6-mxfp4-rht-eden": { ...backward(EDEN), forward: INT6 },
  /** Four bits in all three products. */
  "mxfp4-full": {
    ...backward(GEMM_RECIPES["mxfp4-rht-sr"]),
    forward: GEMM_RECIPES.mxfp4,
  },
} as const satisfies Record<string, RecipeDescription>;

export type Recipe = keyof typeof RECIPES;
/** Of the recipes with an MXFP4 backward pass, the one closest to bf16 (docs/ablation.md). */
export const DEFAULT_RECIPE: Recipe = "mxfp4-rht-eden";
/** The longest segment that a recipe rotates; sizes along k are multiples of it. */
export function segmentLength(recipe: Recipe): number {
  const { forward, dInput, dWeight }: RecipeDescription = RECIPES[recipe];
  return Math.max(
    ...[forward, dInput, dWeight].map((product) =>
      "rotation" in product ? product.rotation : 0,
    ),
  );
}
export const RECIPE_NAMES = Object.keys(RECIPES) as Recipe[];
