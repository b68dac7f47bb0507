import { describe, expect, test } from "vitest";
import { GEMM_RECIPE_NAMES, type GemmRecipe } from "../../src/api/recipe.ts";
import type { Scheme } from "../../src/api/scheme.ts";
import { gemm } from "../reference/mxfp4.ts";
import { expectClose } from "../support/close.ts";
import { dequantizeFile, quantizeFile } from "../support/files.ts";
import { normals } from "../support/random.ts";
import { bytesOf, problemOf } from "./support.ts";
import {
  f32,
  fileInOrder,
  floats,
  type Input,
  named,
  post,
  read,
  u8,
} from "./tensor-support.ts";

const [M, N, K] = [5, 7, 192];
const A = f32("a", [M, K], normals(M * K, 1));
const B = f32("b", [N, K], normals(N * K, 2));
const BODY = fileInOrder([A, B]);

/** Of the paper; files have another scale rule unless told. */
const ALGORITHM_1 = { scale: "floor" } as const;
const ALGORITHM_2 = {
  scale: "floor",
  rounding: "stochastic",
  prescale: 0.75,
} as const;

/** How `/v1/quantize` makes the operands of a recipe. */
const SCHEMES: Record<Exclude<GemmRecipe, "f32" | "bf16">, Partial<Scheme>> = {
  mxfp4: ALGORITHM_1,
  "mxfp4-rht": { ...ALGORITHM_1, hadamard: 64 },
  "mxfp4-sr": ALGORITHM_2,
  "mxfp4-rht-sr": { ...ALGORITHM_2, hadamard: 64 },
};

function valuesOf({ bytes }: Input): number[] {
  return [...new Float32Array(bytes.slice().buffer)];
}

/** The nearest bf16, ties to even. */
function bf16(x: number): number {
  const bits = new Uint32Array(Float32Array.of(x).buffer)[0]!;
  const rounded = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(Uint32Array.of(rounded >>> 0).buffer)[0]!;
}

async function product(query: string, body = BODY): Promise<number[]> {
  const file = await read(await post(`/v1/gemm?${query}`, body));
  expect(file.tensors.length).toBe(1);
  expect(named(file, "c")).toMatchObject({ dtype: "F32" });
  return floats(file, "c");
}

describe("POST /v1/gemm", () => {
  test.each(["f32", "bf16"] as const)(
    "%s is a · bᵀ of operands so rounded",
    async (recipe) => {
      const round = recipe === "bf16" ? bf16 : (x: number) => x;
      const [a, b] = [valuesOf(A).map(round), valuesOf(B).map(round)];
      expectClose(await product(`recipe=${recipe}`), gemm(a, b, M, N, K), 1e-4);
    },
  );

  test.each(Object.entries(SCHEMES))(
    "%s is the product of what quantizing the same file gives",
    async (recipe, scheme) => {
      const { bytes } = await quantizeFile(BODY, { ...scheme, seed: 9 });
      const { file } = await dequantizeFile(bytes);
      const expected = gemm(floats(file, "a"), floats(file, "b"), M, N, K);
      expectClose(await product(`recipe=${recipe}&seed=9`), expected, 2e-4);
    },
  );

  test("mxfp4-rht-sr is the default, and a pure function of body and seed", async () => {
    const bytes = async (query: string) =>
      bytesOf(await post(`/v1/gemm?${query}`, BODY));
    const first = await bytes("seed=3");
    expect(await bytes("recipe=mxfp4-rht-sr&seed=3")).toEqual(first);
    expect(await bytes("seed=4")).not.toEqual(first);
  });

  test("stochastic products average to the exact one", async () => {
    const exact = gemm(valuesOf(A), valuesOf(B), M, N, K);
    const mean = new Float64Array(M * N);
    const draws = 200;
    for (let seed = 0; seed < draws; seed++) {
      const one = await product(`seed=${seed}`);
      one.forEach((value, i) => (mean[i]! += value / draws));
    }
    // One draw is off by about √K · 0.25.
    expectClose(mean, exact, (5 * 0.25 * Math.sqrt(K)) / Math.sqrt(draws));
  });

  test("operands of every float dtype are read", async () => {
    const values = valuesOf(A).map((x) => Math.round(x * 8) / 8);
    const plain = fileInOrder([f32("a", [M, K], values), B]);
    const half = {
      name: "a",
      dtype: "F16" as const,
      shape: [M, K],
      bytes: new Uint8Array(new Float16Array(values).buffer),
    };
    const wide = {
      ...half,
      dtype: "F64" as const,
      bytes: new Uint8Array(new Float64Array(values).buffer),
    };
    const expected = await product("", plain);
    expect(await product("", fileInOrder([half, B]))).toEqual(expected);
    expect(await product("", fileInOrder([wide, B]))).toEqual(expected);
  });

  test("a NaN makes its row NaN, and only it", async () => {
    const values = normals(M * K, 1);
    values[K + 3] = NaN;
    for (const recipe of GEMM_RECIPE_NAMES) {
      const c = await product(
        `recipe=${recipe}`,
        fileInOrder([f32("a", [M, K], values), B]),
      );
      c.forEach((value, i) =>
        expect(Number.isNaN(value)).toBe(Math.floor(i / N) === 1),
      );
    }
  });
});

describe("POST /v1/gemm refuses", () => {
  const cases: [string, string, Input[], number, string, string][] = [
    [
      "an unknown recipe",
      "recipe=int4",
      [A, B],
      422,
      "invalid_option",
      "mxfp4-rht-sr",
    ],
    ["one tensor", "", [A], 422, "shape_mismatch", '"a"'],
    [
      "a third tensor",
      "",
      [A, B, u8("d", [1], [1])],
      422,
      "shape_mismatch",
      '"d"',
    ],
    [
      "another name",
      "",
      [A, { ...B, name: "c" }],
      422,
      "shape_mismatch",
      '"c"',
    ],
    [
      "vectors",
      "",
      [{ ...A, shape: [M * K] }, B],
      422,
      "shape_mismatch",
      "2 dimensions",
    ],
    [
      "two ks",
      "",
      [{ ...A, shape: [M * 2, K / 2] }, B],
      422,
      "shape_mismatch",
      "[10, 96]",
    ],
    [
      "integers",
      "",
      [u8("a", [1, 64], Array(64).fill(1)), B],
      422,
      "unsupported_dtype",
      "U8",
    ],
    [
      "empty operands",
      "",
      [f32("a", [0, K], []), B],
      422,
      "shape_mismatch",
      "m = 0",
    ],
  ];
  test.each(cases)("%s", async (_, query, tensors, status, code, got) => {
    const problem = await problemOf(
      await post(`/v1/gemm?${query}`, fileInOrder(tensors)),
      status,
      code,
    );
    expect(problem.detail).toContain(got);
  });

  test.each([
    ["mxfp4", 48, 32],
    ["mxfp4-rht", 96, 64],
    ["mxfp4-rht-sr", 32, 64],
  ])("%s with k = %i, no multiple of %i", async (recipe, k, multiple) => {
    const body = fileInOrder([
      f32("a", [1, k], normals(k, 1)),
      f32("b", [1, k], normals(k, 2)),
    ]);
    const problem = await problemOf(
      await post(`/v1/gemm?recipe=${recipe}`, body),
      422,
      "shape_mismatch",
    );
    expect(problem.detail).toContain(`multiple of ${multiple}`);
  });

  test("what would not fit its memory: a body over 16 MiB, operands over 2^22 elements, a product over 2^21", async () => {
    const zeros = (
      name: string,
      rows: number,
      k: number,
      width: number,
    ): Input => ({
      name,
      dtype: width === 2 ? "BF16" : "F32",
      shape: [rows, k],
      bytes: new Uint8Array(rows * k * width),
    });
    const send = (...tensors: Input[]) =>
      post("/v1/gemm", fileInOrder(tensors));
    await problemOf(
      await send(zeros("a", 65536, 64, 4), zeros("b", 1, 64, 4)),
      413,
      "body_too_large",
    );
    await problemOf(
      await send(zeros("a", 65536, 64, 2), zeros("b", 1, 64, 2)),
      422,
      "shape_mismatch",
    );
    await problemOf(
      await send(zeros("a", 2048, 64, 2), zeros("b", 1025, 64, 2)),
      422,
      "shape_mismatch",
    );
    const largest = await send(
      zeros("a", 1024, 64, 2),
      zeros("b", 2048, 64, 2),
    );
    expect(named(await read(largest), "c").shape).toEqual([1024, 2048]);
  });
});
