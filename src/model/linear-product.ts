/** One product of a linear layer according to its recipe: of f32 operands, or of packed panels. */
import { AppError } from "../api/errors.ts";
import { isDense, type PanelProduct, type Product } from "../api/recipe.ts";
import type { Pointer } from "../kernels/arena.ts";
import { matmul, type Operand } from "../kernels/matmul.ts";
import { SEGMENT_LENGTH, type Side } from "../kernels/mxfp4-matmul.ts";
import {
  multiplyPanels,
  packPanel,
  panelBytes,
} from "../kernels/panel-product.ts";
import { kernels } from "../kernels/runtime.ts";
import { noiseOf, type NoisyGemm } from "./linear-noise.ts";
import type { PackedWeights } from "./packed-weights.ts";

/** An operand [rows, k]. */
export type ProductOperand = {
  /** Its side in the recipe's product. */
  role: Side;
  rows: number;
  /** Not called if its panel is cached. */
  read: () => Operand;
  /** The cache in which the panel is kept for all microbatches of a step, and its name there. */
  kept?: { packedWeights: PackedWeights; name: string };
};

/** out f32 [m, n] = a [m, k] · b [n, k]ᵀ, plus `bias` f32 [n] where there is one. */
export function multiply(
  out: Pointer,
  product: Product,
  a: ProductOperand,
  b: ProductOperand,
  k: number,
  { bias, noise }: { bias?: Pointer | undefined; noise?: NoisyGemm },
): void {
  const { arena } = kernels();
  const [m, n] = [a.rows, b.rows];
  arena.scope(() => {
    if (isDense(product)) {
      const roundToBf16 = product.format === "bf16";
      matmul(out, a.read(), b.read(), m, n, k, { bias, roundToBf16 });
      return;
    }
    const placed = inRoles(product, { a: a.role, b: b.role });
    const noiseFor = noise ? noiseOf(noise, product) : () => ({});
    const panel = (side: Side, operand: ProductOperand): Pointer => {
      const { role, rows, read, kept } = operand;
      const bytes = panelBytes(placed, side, rows, k);
      const pack = (to: Pointer): void =>
        packPanel(to, placed, side, read(), rows, k, noiseFor(role));
      if (kept) return kept.packedWeights.panel(kept.name, bytes, pack);
      const own = arena.alloc(bytes);
      pack(own);
      return own;
    };
    const aPanel = panel("a", a);
    multiplyPanels(out, placed, aPanel, panel("b", b), m, n, k, bias);
  });
}

/** The recipe's product with its sides exchanged as `roles` says. */
function inRoles(
  product: PanelProduct,
  roles: Record<Side, Side>,
): PanelProduct {
  if (product.format !== "mxfp4") return product;
  return { ...product, a: product[roles.a], b: product[roles.b] };
}

/** Panels hold whole groups of 64, and a rotation whole segments. */
export function checkSegments(
  name: string,
  value: number,
  product: Product,
): void {
  if (isDense(product)) return;
  const rotation = "rotation" in product ? product.rotation : 0;
  const multiple = Math.max(SEGMENT_LENGTH, rotation);
  if (value % multiple !== 0) {
    throw new AppError(
      "shape_mismatch",
      `Expected \`${name}\` to be a multiple of ${multiple} in an MXFP4 recipe, got ${value}`,
    );
  }
}
