/** What is known and not read is refused by its name, whichever operation is asked for. */
import "../support/kernels.ts";
import { describe, expect, test } from "vitest";
import type { Selection } from "../../src/formats/operations/name-patterns.ts";
import { analysisOf } from "../../src/formats/operations/file-operation.ts";
import { planQuantize } from "../../src/formats/operations/quantize-file.ts";
import { planRepack } from "../../src/formats/operations/repack-file.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import type { Dtype } from "../../src/formats/dtype.ts";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import { f32, fileInOrder, named } from "../http/tensor-support.ts";
import { convert, dequantizeFile } from "../support/files.ts";
import { ggufFile, type GgufTensorBytes } from "../support/gguf-bytes.ts";
import { normals } from "../support/random.ts";

const BYTES: Partial<Record<Dtype, number>> = {
  F32: 4,
  I32: 4,
  U32: 4,
  F16: 2,
  BF16: 2,
  F4: 1 / 2,
  F6_E2M3: 3 / 4,
};

type Head = [name: string, dtype: Dtype, shape: number[]];

function tensor([name, dtype, shape]: Head) {
  const count = shape.reduce((a, b) => a * b, 1);
  const bytes = new Uint8Array(count * (BYTES[dtype] ?? 1));
  return { name, dtype, shape, bytes };
}

/** As their writers name a layer [64, 128], the tensor that is to be named first. */
const M = "model.layers.0.mlp.up_proj";
const FILES: Record<string, [Head, ...Head[]]> = {
  "NVFP4, ModelOpt": [
    [`${M}.weight`, "U8", [64, 64]],
    [`${M}.weight_scale`, "F8_E4M3", [64, 8]],
    [`${M}.weight_scale_2`, "F32", []],
    [`${M}.input_scale`, "F32", []],
  ],
  "NVFP4, compressed-tensors": [
    [`${M}.weight_packed`, "U8", [64, 64]],
    [`${M}.weight_scale`, "F8_E4M3", [64, 8]],
    [`${M}.weight_global_scale`, "F32", [1]],
  ],
  "NVFP4, F4 with E4M3 scales": [
    [`${M}.weight`, "F4", [64, 128]],
    [`${M}.weight_scale`, "F8_E4M3", [64, 8]],
    [`${M}.weight_scale_2`, "F32", []],
  ],
  "FP4 without scales that are known": [[`${M}.weight`, "F4", [64, 128]]],
  FP6: [[`${M}.weight`, "F6_E2M3", [64, 128]]],
  "NVFP4, MLX": [
    [`${M}.weight`, "U32", [64, 16]],
    [`${M}.scales`, "U8", [64, 8]],
  ],
  "INT4, GPTQ": [
    [`${M}.qweight`, "I32", [16, 64]],
    [`${M}.qzeros`, "I32", [1, 8]],
    [`${M}.scales`, "F16", [1, 64]],
    [`${M}.g_idx`, "I32", [128]],
  ],
  "INT4, AWQ": [
    [`${M}.qweight`, "I32", [128, 8]],
    [`${M}.qzeros`, "I32", [1, 8]],
    [`${M}.scales`, "F16", [1, 64]],
  ],
  "INT4, compressed-tensors": [
    [`${M}.weight_packed`, "I32", [64, 16]],
    [`${M}.weight_scale`, "BF16", [64, 1]],
    [`${M}.weight_shape`, "I32", [2]],
  ],
  "INT8, compressed-tensors": [
    [`${M}.weight`, "I8", [64, 128]],
    [`${M}.weight_scale`, "BF16", [64, 1]],
  ],
  "NF4 or FP4, bitsandbytes": [
    [`${M}.weight`, "U8", [4096, 1]],
    [`${M}.weight.absmax`, "F32", [128]],
    [`${M}.weight.quant_map`, "F32", [16]],
    [`${M}.weight.quant_state.bitsandbytes__nf4`, "U8", [80]],
  ],
  "INT8, bitsandbytes": [
    [`${M}.weight`, "I8", [64, 128]],
    [`${M}.SCB`, "F32", [64]],
  ],
  "affine INT, MLX": [
    [`${M}.weight`, "U32", [64, 16]],
    [`${M}.scales`, "F16", [64, 2]],
    [`${M}.biases`, "F16", [64, 2]],
  ],
};

const quantize = (file: Uint8Array, selection: Partial<Selection> = {}) =>
  convert(file, (input) =>
    planQuantize(input, {
      scheme: DEFAULT_SCHEME,
      selection: { include: [], exclude: [], ...selection },
    }),
  );

const OPERATIONS: Record<string, (file: Uint8Array) => Promise<unknown>> = {
  quantize,
  dequantize: dequantizeFile,
  repack: (file) => convert(file, (input) => planRepack(input, "mlx")),
  analyze: (file) => convert(file, (input) => analysisOf({})(input).conversion),
};

/** Floats beside it, which could be packed. */
const FLOATS = f32(
  "model.layers.0.mlp.down_proj.weight",
  [32, 64],
  normals(2048, 1),
);

describe.each(Object.entries(FILES))("%s", (format, heads) => {
  const file = fileInOrder([FLOATS, ...heads.map(tensor)]);
  const [[name]] = heads;
  test.each(Object.entries(OPERATIONS))("is refused by %s", async (_, run) => {
    await expect(run(file)).rejects.toMatchObject({
      code: "unsupported_dtype",
      message: expect.stringContaining(`got ${format} in "${name}"`),
    });
  });

  test("passes where it is excluded", async () => {
    const out = await quantize(file, { exclude: ["*up_proj*"] });
    for (const head of heads)
      expect(named(readSafetensors(out), head[0])).toEqual(tensor(head));
  });
});

const Q6_K = 14;
const F32 = 0;
const KEPT: GgufTensorBytes = {
  name: "blk.0.attn_q.weight",
  dimensions: [256, 2],
  type: Q6_K,
  bytes: new Uint8Array(420),
};

test.each(Object.entries(OPERATIONS).filter(([name]) => name !== "repack"))(
  "a GGUF of k-quants alone is refused by %s",
  async (_, run) => {
    await expect(run(ggufFile([KEPT]))).rejects.toMatchObject({
      code: "unsupported_dtype",
      message: expect.stringContaining(
        'got Q6_K, GGUF in "blk.0.attn_q.weight"',
      ),
    });
  },
);

test("beside matrices of floats, k-quants stay", async () => {
  const bytes = new Uint8Array(normals(512, 3).buffer);
  const matrix = { ...KEPT, name: "blk.0.attn_k.weight", type: F32, bytes };
  await expect(quantize(ggufFile([KEPT, matrix]))).resolves.toBeDefined();
});

test("FP4 with exponents is told of its shape where rows are no whole blocks", async () => {
  const file = fileInOrder([
    tensor([`${M}.weight`, "F4", [64, 48]]),
    tensor([`${M}.weight_scale`, "F8_E8M0", [64, 2]]),
  ]);
  const message = `Expected tensor "${M}.weight" to be [64, 64], because "${M}.weight_scale" is [64, 2], got [64, 48]`;
  await expect(dequantizeFile(file)).rejects.toMatchObject({
    code: "shape_mismatch",
    message,
  });
});
