/**
 * Recipes are data: what each of them does stands beside its name, and nothing is read out of the name.
 * A product is described by its operands; all factors follow from how those are quantized.
 */

/** Of Algorithm 2 of arXiv 2502.20586: nothing that it multiplies clips. */
const PRESCALE = 0.75;

/** How one operand of a product, or a gradient on the wire, becomes MXFP4 (floor scale). */
export type Mxfp4Quantizer = {
  rounding: "nearest-even" | "stochastic";
  /** Multiplies the values before they are quantized. */
  prescale: 1 | typeof PRESCALE;
  /** Multiplies what was quantized, so that it is as large as the values again. */
  correction: number;
};

/** Algorithm 1 of arXiv 2502.20586. */
const ALGORITHM_1: Mxfp4Quantizer = {
  rounding: "nearest-even",
  prescale: 1,
  correction: 1,
};

/**
 * Algorithm 1 with the prescale of Algorithm 2: nothing clips. E2M1 shrinks what it rounds to nearest; the
 * correction takes that back for normal draws, 1 / 0.99104, and so on the average over rotations.
 */
const ALIGNED: Mxfp4Quantizer = {
  rounding: "nearest-even",
  prescale: PRESCALE,
  correction: (1 / PRESCALE) * 1.00904,
};

/** Algorithm 2: nothing clips, and the mean is the value. */
export const ALGORITHM_2: Mxfp4Quantizer = {
  rounding: "stochastic",
  prescale: PRESCALE,
  correction: 1 / PRESCALE,
};

/** f32 products of f32 operands, which may be rounded to bf16. */
export type DenseProduct = { format: "f32" | "bf16" };
/** Integers of 6 bits, an f32 scale for each 64 of k. */
type Int6Product = { format: "int6" };
export type Mxfp4Product = {
  format: "mxfp4";
  /** Length of the segments that a random Hadamard transform rotates; 0 for none. */
  rotation: Rotation;
  a: Mxfp4Quantizer;
  b: Mxfp4Quantizer;
};
/**
 * MXFP4 to nearest after a rotation, and an f32 factor for each rotated segment of an operand, which takes
 * back what its rounding shrank (assembly/int6/pack-eden.ts).
 */
export type EdenProduct = { format: "eden"; rotation: 64 };
/** Products on panels of integers. */
export type PanelProduct = Int6Product | Mxfp4Product | EdenProduct;
export type Product = DenseProduct | PanelProduct;

type Rotation = 0 | 32 | 64 | 128;

export function isDense(product: Product): product is DenseProduct {
  return product.format === "f32" || product.format === "bf16";
}

/** What undoes the prescales of a product's operands; 16/9 for two of Algorithm 2. */
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
  /** Of linear layers: y = x · W; a is x, b is W. Without rotation and noise, which have a step. */
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

/** bf16 but for the backward pass of the linear layers. */
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
  /** Noise only where the gradient comes in; what meets it is rounded to nearest. */
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
/** Nearest to bf16 of those whose backward pass is in MXFP4 (docs/ablation.md). */
export const DEFAULT_RECIPE: Recipe = "mxfp4-rht-eden";
/** The longest segment that a recipe rotates: what rows of its products are whole multiples of. */
export function segmentLength(recipe: Recipe): number {
  const { forward, dInput, dWeight }: RecipeDescription = RECIPES[recipe];
  return Math.max(
    ...[forward, dInput, dWeight].map((product) =>
      "rotation" in product ? product.rotation : 0,
    ),
  );
}
export const RECIPE_NAMES = Object.keys(RECIPES) as Recipe[];
