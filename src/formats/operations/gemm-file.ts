/**
 * c = a · bᵀ of a file's two tensors, by recipe. MXFP4 operands have the values that quantizing the same file with
 * the same seed gives; `a` is tensor number 0, `b` number 1.
 */
import { AppError } from "../../api/errors.ts";
import {
  type DenseProduct,
  GEMM_RECIPES,
  type GemmRecipe,
  type Mxfp4Product,
  type Mxfp4Quantizer,
  productFactor,
} from "../../api/recipe.ts";
import { byRows, matmul } from "../../kernels/matmul.ts";
import {
  matmulMxfp4,
  packMxfp4,
  SEGMENT_LENGTH,
} from "../../kernels/mxfp4-matmul.ts";
import { drawSigns } from "../../kernels/hadamard.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { noiseKey, PURPOSE } from "../../kernels/noise.ts";
import { kernels } from "../../kernels/runtime.ts";
import { canonicalizeNaN } from "../../kernels/vector.ts";
import { isFloat, loadFloats, storeFloats } from "../dtype.ts";
import { roundingKey } from "../blocks/block-pieces.ts";
import type { TensorHead } from "../tensor.ts";

/** A tensor in memory: its little-endian bytes, C order. */
type Operand = TensorHead & { bytes: Uint8Array };

/** Limits that bound the memory of a product, in elements. */
const MAX_OPERANDS = 2 ** 22;
const MAX_PRODUCT = 2 ** 21;

/** `c` as f32 [m, n]. Errors: `malformed_body`, `shape_mismatch`, `unsupported_dtype` */
export function multiplyFile(
  tensors: readonly Operand[],
  recipe: GemmRecipe,
  seed: number,
): { shape: [number, number]; bytes: Uint8Array<ArrayBuffer> } {
  const [a, b] = operands(tensors);
  const [m, k] = a.shape as [number, number];
  const [n, kOfB] = b.shape as [number, number];
  if (k !== kOfB) {
    throw mismatch(
      `\`a\` [m, k] and \`b\` [n, k] of one k`,
      `[${m}, ${k}] and [${n}, ${kOfB}]`,
    );
  }
  const product: DenseProduct | Mxfp4Product = GEMM_RECIPES[recipe];
  const multiple =
    product.format === "mxfp4" ? product.rotation || BLOCK_SIZE : 1;
  if (m < 1 || n < 1 || k < 1 || k % multiple !== 0) {
    throw mismatch(
      `sizes from 1 and k a multiple of ${multiple} for ${recipe}`,
      `m = ${m}, n = ${n}, k = ${k}`,
    );
  }
  if ((m + n) * k > MAX_OPERANDS || m * n > MAX_PRODUCT) {
    throw mismatch(
      `at most ${MAX_OPERANDS} elements in \`a\` and \`b\` and ${MAX_PRODUCT} in \`c\``,
      `${(m + n) * k} and ${m * n}`,
    );
  }
  const { arena } = kernels();
  return arena.scope(() => {
    const left = load(a);
    const right = load(b);
    const out = arena.allocF32(m * n);
    if (product.format === "mxfp4") {
      const signs = product.rotation > 0 ? drawn(seed) : undefined;
      const packing = (
        position: number,
        { rounding, prescale }: Mxfp4Quantizer,
      ) => ({
        signs,
        prescale,
        rounding:
          rounding === "stochastic" ? roundingKey(seed, position) : undefined,
      });
      const [first, second] = [packing(0, product.a), packing(1, product.b)];
      const aPanel = packMxfp4("a", byRows(left, k), m, k, first);
      const bPanel = packMxfp4("b", byRows(right, k), n, k, second);
      matmulMxfp4(out, aPanel, bPanel, m, n, k, productFactor(product));
    } else {
      matmul(out, byRows(left, k), byRows(right, k), m, n, k, {
        roundToBf16: product.format === "bf16",
      });
    }
    canonicalizeNaN(out, m * n);
    return { shape: [m, n], bytes: storeFloats("F32", out, m * n) };
  });
}

function operands(tensors: readonly Operand[]): [Operand, Operand] {
  const found = ["a", "b"].map((name) =>
    tensors.find((tensor) => tensor.name === name),
  );
  const [a, b] = found;
  if (!a || !b || tensors.length !== 2) {
    throw mismatch(
      "two tensors, `a` [m, k] and `b` [n, k]",
      tensors.length === 0
        ? "none"
        : tensors
            .slice(0, 4)
            .map(({ name }) => `"${name}"`)
            .join(", "),
    );
  }
  for (const { name, dtype, shape } of [a, b]) {
    if (!isFloat(dtype)) {
      throw new AppError(
        "unsupported_dtype",
        `Expected tensor "${name}" of F64, F32, F16 or BF16, got ${dtype}`,
      );
    }
    if (shape.length !== 2)
      throw mismatch(
        `tensor "${name}" of 2 dimensions`,
        `[${shape.join(", ")}]`,
      );
  }
  return [a, b];
}

function load({ dtype, shape, bytes }: Operand): number {
  const x = kernels().arena.allocF32(shape[0]! * shape[1]!);
  if (isFloat(dtype)) loadFloats(x, dtype, bytes);
  return x;
}

/** The signs for files with this seed. */
function drawn(seed: number): number {
  const signs = kernels().arena.allocF32(SEGMENT_LENGTH);
  drawSigns(signs, SEGMENT_LENGTH, noiseKey(seed, PURPOSE.fileSigns));
  return signs;
}

function mismatch(expected: string, got: string): AppError {
  return new AppError("shape_mismatch", `Expected ${expected}, got ${got}`);
}
