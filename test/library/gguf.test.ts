/** The library's functions are the routes' in this process: what they say of GGUF. */
import { expect, test } from "vitest";
import { analyze, hadamard } from "../../src/index.ts";
import { ggufFile } from "../support/gguf-bytes.ts";
import { normals } from "../support/random.ts";

const GGUF = ggufFile([
  {
    name: "a.weight",
    dimensions: [64, 4],
    type: 0,
    bytes: new Uint8Array(normals(256, 1).buffer),
  },
  {
    name: "b.weight",
    dimensions: [32, 1],
    type: 2,
    bytes: new Uint8Array(18),
  },
]);

test("a GGUF is analyzed as it streams", async () => {
  const { tensors, passedOver } = await analyze(new Blob([GGUF]), {
    compare: ["ggml", "ocp"],
  });
  expect(tensors).toMatchObject([
    { name: "a.weight", dtype: "F32", shape: [4, 64], elements: 256 },
  ]);
  expect(tensors[0]!.schemes[0]!.sqnrDb).toBeGreaterThan(15);
  expect(passedOver).toEqual([
    {
      name: "b.weight",
      dtype: "Q4_0",
      shape: [1, 32],
      reason: "quantized already",
    },
  ]);
});

test("a GGUF is not rotated", async () => {
  await expect(hadamard(GGUF)).rejects.toMatchObject({
    code: "unsupported_media_type",
    message: expect.stringMatching(/^Expected safetensors, .* got GGUF/),
  });
});
