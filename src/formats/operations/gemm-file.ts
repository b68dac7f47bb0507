/**
 * c = a · bᵀ of a file's two tensors, by recipe. MXFP4 operands are those that quantizing the same file
 * with the same seed gives: tensor `a` is its first, `b` its second.
 */
import { AppError } from "../../api/errors.ts";
import type { GemmRecipe } from "../../api/recipe.ts";
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
import { roundingKey } from "../blocks/mxfp4.ts";
import type { SafetensorsFile } from "../containers/safetensors.ts";
import type { Tensor } from "../tensor.ts";

/** Bounds of the memory that a product takes. */
const MAX_OPERANDS = 2 ** 22;
const MAX_PRODUCT = 2 ** 21;

/** Of one tensor of Algorithm 2 the values are 3/4; of a product of two, 9/16. */
const UNSCALE = 16 / 9;

/** `c` as f32 [m, n]. Errors: `malformed_body`, `shape_mismatch`, `unsupported_dtype` */
export function multiplyFile(
  { tensors }: SafetensorsFile,
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
  const multiple = recipe.includes("rht")
    ? SEGMENT_LENGTH
    : recipe.startsWith("mxfp4")
      ? BLOCK_SIZE
      : 1;
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
    if (recipe === "f32" || recipe === "bf16") {
      matmul(out, byRows(left, k), byRows(right, k), m, n, k, {
        roundToBf16: recipe === "bf16",
      });
    } else {
      const isStochastic = recipe.endsWith("sr");
      const signs = recipe.includes("rht") ? drawn(seed) : undefined;
      const packing = (position: number) => ({
        signs,
        rounding: isStochastic ? roundingKey(seed, position) : undefined,
      });
      const aPanel = packMxfp4("a", byRows(left, k), m, k, packing(0));
      const bPanel = packMxfp4("b", byRows(right, k), n, k, packing(1));
      const factor = isStochastic ? UNSCALE : 1;
      matmulMxfp4(out, aPanel, bPanel, m, n, k, factor);
    }
    canonicalizeNaN(out, m * n);
    return { shape: [m, n], bytes: storeFloats("F32", out, m * n) };
  });
}

function operands(tensors: readonly Tensor[]): [Tensor, Tensor] {
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

function load({ dtype, shape, bytes }: Tensor): number {
  const x = kernels().arena.allocF32(shape[0]! * shape[1]!);
  if (isFloat(dtype)) loadFloats(x, dtype, bytes);
  return x;
}

/** The signs of a file of this seed. */
function drawn(seed: number): number {
  const signs = kernels().arena.allocF32(SEGMENT_LENGTH);
  drawSigns(signs, SEGMENT_LENGTH, noiseKey(seed, PURPOSE.fileSigns));
  return signs;
}

function mismatch(expected: string, got: string): AppError {
  return new AppError("shape_mismatch", `Expected ${expected}, got ${got}`);
}
