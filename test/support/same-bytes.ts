/**
 * What a runtime computes, as digests: the same in workerd and in Node, on every machine. Changed
 * only with a change that means to change bytes.
 */
import { RECIPE_NAMES, segmentLength } from "../../src/api/recipe.ts";
import { byColumns, byRows, fingerprint } from "../../src/kernels/matmul.ts";
import {
  type DotForm,
  matmulMxfp4,
  packMxfp4,
} from "../../src/kernels/mxfp4-matmul.ts";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import { kernels } from "../../src/kernels/runtime.ts";
import { lossAndGradient } from "./model.ts";
import { initialParameters } from "../../src/model/parameters.ts";
import { parameterTable } from "./model.ts";
import { quantize, signs } from "./mxfp4.ts";
import { uniform } from "./random.ts";

/** By name; of a gradient also by the arithmetic that its f32 products depend on. */
export const DIGESTS: Record<string, string> = {
  "gradient bf16 2-fma": "e5c55add59b87182",
  "gradient f32 2-fma": "5db7e2fb84ef8622",
  "gradient int6-mxfp4-rht-sr 2-fma": "9c21054d4e907643",
  "gradient mxfp4 2-fma": "904b1ba83f3b2ea2",
  "gradient mxfp4-rht 2-fma": "74848c4fceca67d5",
  "gradient mxfp4-rht-sr 2-fma": "cb3a462ff90f93cb",
  "gradient mxfp4-sr 2-fma": "043003a3db50be00",
  "gradient int6-mxfp4-rht-eden 2-fma": "80616a86203802d6",
  "gradient mxfp4-full 2-fma": "beab697f0b6356a9",
  "gradient mxfp4-rht-eden 2-fma": "e590be35d31dd72f",
  "gradient mxfp4-rht-pma 2-fma": "1f6156a11a797a04",
  "gradient mxfp4-rht-sr-dy 2-fma": "9a3da4b1e6f1429a",
  "gradient mxfp4-rht128-sr 2-fma": "66cf69b54b449df6",
  "gradient mxfp4-rht32-sr 2-fma": "e56f7057810dcee4",
  "product accumulating": "7f3623aee36686ca",
  "product pairwise": "7f3623aee36686ca",
  "stochastic elements": "c1047e8357f2c3b5",
};

/** Evenly in [−1, 1), by integer arithmetic only. */
function values(length: number, seed: number): Float32Array {
  const next = uniform(seed);
  return Float32Array.from({ length }, () => 2 * next() - 1);
}

async function digest(data: Float32Array | Uint8Array): Promise<string> {
  const bytes = new Uint8Array(
    data.buffer as ArrayBuffer,
    data.byteOffset,
    data.byteLength,
  );
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash.subarray(0, 8), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

export async function computeDigests(): Promise<Record<string, string>> {
  const digests: Record<string, string> = {};
  for (const form of ["accumulating", "pairwise"] as const) {
    digests[`product ${form}`] = await digest(product(form));
  }
  const { elements } = quantize(values(4096, 3), {
    rounding: {
      mode: "stochastic",
      key: noiseKey(5, PURPOSE.fileRounding, 0),
      firstElement: 0,
    },
    scale: "rceil",
    prescale: 1,
  });
  digests["stochastic elements"] = await digest(elements);
  for (const recipe of RECIPE_NAMES) {
    digests[`gradient ${recipe} ${fingerprint()}`] = await digest(
      gradient(recipe),
    );
  }
  return digests;
}

/** A rotated, stochastically rounded product, one operand by rows and one by columns. */
function product(form: DotForm): Float32Array {
  const [m, n, k] = [37, 50, 192];
  const { arena } = kernels();
  const vector = signs(64, noiseKey(1, PURPOSE.gemmSigns, 0, 0, 0, 0, 0));
  return arena.scope(() => {
    const packing = (operand: number) => ({
      signs: arena.copyIn(vector),
      rounding: noiseKey(1, PURPOSE.gemmRounding, 0, 0, 0, 0, operand, 0),
    });
    const a = packMxfp4(
      "a",
      byRows(arena.copyIn(values(m * k, 1)), k),
      m,
      k,
      packing(0),
    );
    const b = packMxfp4(
      "b",
      byColumns(arena.copyIn(values(n * k, 2)), n),
      n,
      k,
      packing(1),
    );
    const out = arena.allocF32(m * n);
    matmulMxfp4(out, a, b, m, n, k, 16 / 9, form);
    return arena.f32(out, m * n).slice();
  });
}

function gradient(recipe: (typeof RECIPE_NAMES)[number]): Float32Array {
  const shape = {
    layers: 2,
    width: Math.max(64, segmentLength(recipe)),
    heads: 2,
    context: 64,
    vocabulary: 101,
  };
  const table = parameterTable(shape);
  const tokens = Int32Array.from({ length: 128 }, (_, i) => (i * i) % 101);
  const targets = tokens.map((token) => (token * 3 + 1) % 101);
  const { arena } = kernels();
  return arena.scope(() => {
    const parameters = arena.copyIn(
      initialParameters(table, 7, 0, table.length),
    );
    const out = arena.allocF32(table.length);
    const noise = { seed: 7, step: 3, microbatch: 1 };
    lossAndGradient(
      shape,
      recipe,
      parameters,
      out,
      { sequences: 2, tokens, targets },
      noise,
    );
    return arena.f32(out, table.length).slice();
  });
}
