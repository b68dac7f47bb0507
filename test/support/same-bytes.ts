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
import { orthogonalize } from "../../src/kernels/orthogonalize.ts";
import { kernels } from "../../src/kernels/runtime.ts";
import { lossAndGradient } from "./model.ts";
import { initialParameters } from "../../src/model/parameters.ts";
import { parameterTable } from "./model.ts";
import { quantize, signs } from "./mxfp4.ts";
import { uniform } from "./random.ts";

/** By name; of a gradient also by the arithmetic that its f32 products depend on. */
export const DIGESTS: Record<string, string> = {
  "gradient bf16 4-fma": "3471ff746b2f58d6",
  "gradient f32 4-fma": "3f6d9a4993ff5741",
  "gradient int6-mxfp4-rht-sr 4-fma": "e1b9c2ac17010106",
  "gradient mxfp4 4-fma": "24668afe20b05242",
  "gradient mxfp4-rht 4-fma": "11e878a451af2423",
  "gradient mxfp4-rht-sr 4-fma": "82f0634380e07cf9",
  "gradient mxfp4-sr 4-fma": "f28d0f77483924f7",
  "gradient int6-mxfp4-rht-eden 4-fma": "c28690a85b14823d",
  "gradient mxfp4-full 4-fma": "78c5132411bcfba1",
  "gradient mxfp4-rht-eden 4-fma": "82ef434374f771a9",
  "gradient mxfp4-rht-pma 4-fma": "b330c57a5e00a57d",
  "gradient mxfp4-rht-sr-dy 4-fma": "5099de57b4b60d0d",
  "gradient mxfp4-rht128-sr 4-fma": "ea96eb9b936dc191",
  "gradient mxfp4-rht32-sr 4-fma": "b3e3f881ba77760f",
  "orthogonal 64 128": "d4d595265b0a12e7",
  "orthogonal 64 64": "423aced5f5199815",
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
  for (const columns of [64, 128]) {
    digests[`orthogonal 64 ${columns}`] = await digest(orthogonal(64, columns));
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

function orthogonal(rows: number, columns: number): Float32Array {
  const { arena } = kernels();
  return arena.scope(() => {
    const x = arena.copyIn(values(rows * columns, 4));
    orthogonalize(x, rows, columns);
    return arena.f32(x, rows * columns).slice();
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
