/** Nothing succeeds by doing nothing: what is refused, and what the refusal says. */
import "../support/kernels.ts";
import { expect, test } from "vitest";
import type { FileOperation } from "../../src/api/tensors.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import { closestNames } from "../../src/formats/operations/closest-names.ts";
import {
  analysisOf,
  planFile,
} from "../../src/formats/operations/file-operation.ts";
import { run } from "../../src/formats/stream/conversion.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import { f32, fileOf, type Input, u8 } from "../http/tensor-support.ts";

const LAYERS = [
  "model.layers.0.mlp.up_proj.weight",
  "model.layers.0.mlp.down_proj.weight",
  "model.layers.0.input_layernorm.weight",
  "model.layers.0.self_attn.q_proj.weight",
  "model.embed_tokens.weight",
  "lm_head.weight",
];

async function planned(
  tensors: readonly Input[],
  request: FileOperation,
): Promise<unknown> {
  const file = fileOf(tensors);
  let at = 0;
  const source = {
    take: (bytes: number) => Promise.resolve(file.subarray(at, (at += bytes))),
  };
  return planFile(await readTensorFile(source, file.length), request);
}

const matrices = (names: readonly string[]) =>
  names.map((name) => f32(name, [2, 32], Array(64).fill(1)));

/** One of floats, or of each way that others are stored, and no element. */
const EMPTY: Record<string, Input[]> = {
  rows: [f32("a.weight", [0, 32], [])],
  columns: [f32("model.layers.0.mlp.up_proj.weight", [4, 0], [])],
  experts: [f32("model.layers.0.mlp.experts.up_proj", [0, 4, 32], [])],
  pair: [u8("x_blocks", [0, 1, 16], []), u8("x_scales", [0, 1], [])],
  packed: [
    u8("x.weight_packed", [0, 16], []),
    u8("x.weight_scale", [0, 1], []),
  ],
  fp8: [
    {
      name: "x.weight",
      dtype: "F8_E4M3",
      shape: [0, 64],
      bytes: u8("", [0], []).bytes,
    },
    f32("x.weight_scale", [1], [1]),
  ],
};

test.each(Object.entries(EMPTY))(
  "tensors without elements, %s, are nothing to any operation",
  async (_, tensors) => {
    for (const request of [
      { operation: "quantize" },
      { operation: "quantize", options: { include: ["*"] } },
      { operation: "dequantize" },
      { operation: "repack", options: { to: "quark" } },
      { operation: "hadamard" },
    ] as const)
      await expect(
        planned(tensors, request),
        JSON.stringify(request),
      ).rejects.toMatchObject({
        code: "nothing_to_convert",
        message: expect.stringMatching(/without elements|U8, not floats/),
      });
    const file = fileOf(tensors);
    const read = await readTensorFile(sourceOf(file), file.length);
    expect(() => analysisOf({})(read)).toThrow("Expected tensors to analyze");
  },
);

test("beside others they have figures without a value", async () => {
  const file = fileOf([
    ...EMPTY.rows!,
    f32("b.weight", [1, 32], Array(32).fill(1)),
  ]);
  const source = sourceOf(file);
  const { conversion, report } = analysisOf({ compare: ["ocp"] })(
    await readTensorFile(source, file.length),
  );
  for await (const _ of run(conversion, source)); // the report again
  expect(report().tensors).toMatchObject([
    { name: "a.weight", elements: 0, schemes: [{ mse: null }] },
    { name: "b.weight", elements: 32, schemes: [{ mse: 0 }] },
  ]);
});

test.each([
  ["*.up_porj.weight", "model.layers.0.mlp.up_proj.weight"],
  ["model.layer.0.mlp.down_proj.weight", "model.layers.0.mlp.down_proj.weight"],
  ["layers.0.self_attn.q_proj", "model.layers.0.self_attn.q_proj.weight"],
  ["LM_Head.weight", "lm_head.weight"],
  ["*embed_token*", "model.embed_tokens.weight"],
])("%s may have meant %s", (pattern, name) => {
  const closest = closestNames(pattern, LAYERS);
  expect(closest[0]).toBe(name);
  expect(closest.length).toBeLessThanOrEqual(3);
});

test("what has nothing in common is not told as close", () => {
  expect(closestNames("xyzzy", LAYERS)).toEqual([]);
  expect(closestNames("*", [])).toEqual([]);
});

test.each(["include", "exclude"] as const)(
  "a pattern of %s that matches no tensor is refused, whatever stands beside it",
  async (option) => {
    const options = { [option]: ["w1", "*.up_porj.*"] };
    for (const operation of ["quantize", "hadamard"] as const)
      await expect(
        planned(matrices(["w1", ...LAYERS]), { operation, options }),
      ).rejects.toMatchObject({
        code: "invalid_option",
        message: expect.stringMatching(
          new RegExp(
            `^Expected \`${option}\` to match .* got "\\*\\.up_porj\\.\\*".*"model\\.layers\\.0\\.mlp\\.up_proj\\.weight"`,
          ),
        ),
      });
  },
);

test("where no name is close, what the file has is told", async () => {
  const options = { include: ["xyzzy"] };
  await expect(
    planned(matrices(LAYERS), { operation: "quantize", options }),
  ).rejects.toThrow(/the file has "[^"]+", "[^"]+", "[^"]+" and 3 others$/);
  await expect(planned([], { operation: "quantize", options })).rejects.toThrow(
    /the file has no tensors$/,
  );
});

test("a file without anything to convert is refused, and what it has is said", async () => {
  const model = [
    "model.layers.0.mlp.up_proj.weight",
    "model.layers.0.input_layernorm.weight",
    "lm_head.weight",
  ].map((name) => f32(name, [2, 33], Array(66).fill(1)));
  await expect(planned(model, { operation: "quantize" })).rejects.toMatchObject(
    {
      code: "nothing_to_convert",
      message: expect.stringMatching(
        /"lm_head\.weight" \(F32, an output head\).*up_proj\.weight" \(F32, .*rows of 33.*; `include` takes what stays by default$/,
      ),
    },
  );
  // What `include` could not take either.
  await expect(
    planned([f32("scale", [], [1])], { operation: "quantize" }),
  ).rejects.toThrow(/got none but "scale" \(F32, no dimension\)$/);
  const integers = [u8("ids", [32], Array(32)), u8("more", [1], [1])];
  for (const operation of ["quantize", "dequantize", "hadamard"] as const) {
    await expect(planned(integers, { operation })).rejects.toMatchObject({
      code: "nothing_to_convert",
      message: expect.stringMatching(/"(ids|more)" and 1 like it \(U8, /),
    });
    await expect(planned([], { operation })).rejects.toMatchObject({
      code: "nothing_to_convert",
      message: expect.stringMatching(/got a file without any$/),
    });
  }
});
