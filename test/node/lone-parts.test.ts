/** A scale without its weight, and a weight without its scale, are refused by name wherever a directory of blocks is read. */
import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type {
  Checkpoint,
  CheckpointTensor,
} from "../../src/checkpoints/checkpoint.ts";
import { decideDirectory } from "../../src/checkpoints/decide-directory.ts";
import { inspect } from "../../src/checkpoints/inspect.ts";
import { storedBlocks } from "../../src/checkpoints/stored-blocks.ts";
import { writeSafetensors } from "../../src/formats/containers/safetensors.ts";
import { type Dtype, dtypeBytes } from "../../src/formats/dtype.ts";
import { compareNames, elementCount } from "../../src/formats/tensor.ts";

const MAIN = resolve(import.meta.dirname, "../../src/cli/main.ts");
const UP = "model.layers.0.mlp.up_proj";
const DOWN = "model.layers.0.mlp.down_proj";

type Head = [name: string, dtype: Dtype, shape: number[]];

const NORM: Head = ["model.norm.weight", "BF16", [64]];
const GATE: Head = ["model.layers.0.mlp.gate_proj.weight", "BF16", [64, 64]];

/** Two parts of one weight in each way of writing it. */
const PAIRS: Record<string, (stem: string) => [weight: Head, scales: Head]> = {
  "gpt-oss": (x) => [
    [`${x}_blocks`, "U8", [8, 2, 16]],
    [`${x}_scales`, "U8", [8, 2]],
  ],
  openai: (x) => [
    [`${x}.blocks`, "U8", [8, 2, 16]],
    [`${x}.scales`, "U8", [8, 2]],
  ],
  "compressed-tensors": (x) => [
    [`${x}.weight_packed`, "U8", [64, 32]],
    [`${x}.weight_scale`, "U8", [64, 2]],
  ],
  quark: (x) => [
    [`${x}.weight`, "U8", [64, 32]],
    [`${x}.weight_scale`, "U8", [64, 2]],
  ],
  mlx: (x) => [
    [`${x}.weight`, "U32", [64, 8]],
    [`${x}.scales`, "U8", [64, 2]],
  ],
  deepseek: (x) => [
    [`${x}.weight`, "I8", [64, 32]],
    [`${x}.scale`, "F8_E8M0", [64, 2]],
  ],
  "FP8 of blocks": (x) => [
    [`${x}.weight`, "F8_E4M3", [64, 64]],
    [`${x}.weight_scale_inv`, "F32", [1, 1]],
  ],
  "FP8 of rows": (x) => [
    [`${x}.weight`, "F8_E4M3", [64, 64]],
    [`${x}.weight_scale`, "BF16", [64, 1]],
  ],
  "FP8 of experts": (x) => [
    [x, "F8_E4M3", [2, 64, 64]],
    [`${x}_scale_inv`, "F32", [2, 1, 1]],
  ],
};

function checkpoint(...heads: Head[]): Checkpoint {
  const tensors = heads.map(([name, dtype, shape]): CheckpointTensor => {
    const end = dtypeBytes(dtype, elementCount(shape));
    return { name, dtype, shape, file: "model.safetensors", start: 0, end };
  });
  const config = { model_type: "llama" };
  return {
    tensors: tensors.toSorted((a, b) => compareNames(a.name, b.name)),
    config,
  };
}

const quantized = (from: Checkpoint) =>
  decideDirectory(from, {
    target: "vllm",
    rotate: "none",
    selection: { include: [], exclude: [] },
  });

function expectRefused(from: Checkpoint, name: string): void {
  const refusal = expect.objectContaining({
    code: "malformed_body",
    message: expect.stringMatching(`^Expected .*"${name}".* got `),
  });
  expect(() => storedBlocks(from)).toThrow(refusal);
  const { loaders } = inspect(from);
  for (const { loads, refusals } of loaders) {
    expect(loads).toBe(false);
    expect(refusals).toContainEqual(expect.stringMatching(`"${name}"`));
  }
}

describe.each(Object.entries(PAIRS))("%s", (kind, pairOf) => {
  const [weight, scales] = pairOf(UP);
  const other = pairOf(DOWN);

  test("with both parts is read", () => {
    const { packed, float8 } = storedBlocks(
      checkpoint(NORM, weight, scales, ...other),
    );
    expect(packed.length + float8.size).toBe(2);
  });

  test("a scale without its weight is refused, with another that is whole and alone", () => {
    expectRefused(checkpoint(NORM, scales, ...other), scales[0]);
    expectRefused(checkpoint(NORM, GATE, scales), scales[0]);
    expect(() => quantized(checkpoint(NORM, GATE, scales))).toThrow(
      `"${scales[0]}"`,
    );
  });

  test("a weight without its scale is refused beside one that has it", () => {
    expectRefused(checkpoint(NORM, weight, ...other), weight[0]);
    if (kind.startsWith("FP8"))
      expect(() => quantized(checkpoint(NORM, weight, ...other))).toThrow(
        `"${weight[0]}"`,
      );
  });
});

test.each(["gpt-oss", "openai", "compressed-tensors"])(
  "elements of %s are known by their name alone",
  (kind) => {
    const [[name, ...rest]] = PAIRS[kind]!(UP);
    const lone = checkpoint(NORM, GATE, [name, ...rest]);
    expectRefused(lone, name);
    expect(() => quantized(lone)).toThrow(`"${name}"`);
  },
);

test("exponents beside floats scale nothing", () => {
  const [, scales] = PAIRS.quark!(UP);
  const beside = checkpoint(NORM, [`${UP}.weight`, "BF16", [64, 64]], scales);
  expectRefused(beside, scales[0]);
  const shown = inspect(beside).tensors.find(({ name }) => name === scales[0])!;
  expect(shown.reason).toBe("a part of a weight, whose other is not there");
});

test("what is called so and is no part of a weight stays", () => {
  const others: Head[] = [
    ["block.0.norm.scale", "BF16", [64]],
    ["logit_scale", "F32", []],
    ["model.layers.0.self_attn.k_scale", "F32", []],
    ["model.layer_scales", "F32", [4]],
    [`${UP}.input_scale`, "F32", []],
    [`${UP}.table`, "U8", [4, 4]],
    [`${UP}.weight`, "U8", [64, 32]],
  ];
  const plain = checkpoint(NORM, GATE, ...others);
  expect(storedBlocks(plain).others).toHaveLength(others.length + 2);
  const { tensors } = quantized(plain);
  expect(tensors).toHaveLength(others.length + 2);
  const [weight, scales] = PAIRS["compressed-tensors"]!(DOWN);
  expect(
    storedBlocks(checkpoint(NORM, weight, scales, ...others)).packed,
  ).toHaveLength(1);
});

describe("the commands", () => {
  let folder: string;
  beforeAll(() => (folder = mkdtempSync(join(tmpdir(), "mxfp4-lone-parts-"))));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  function mxfp4(...args: string[]) {
    return spawnSync(process.execPath, [MAIN, ...args], {
      cwd: folder,
      encoding: "utf8",
    });
  }

  test.each([0, 1])("refuse part %i alone, and write nothing", (part) => {
    const [weight, scales] = PAIRS["compressed-tensors"]!(UP);
    const lone = [weight, scales][part]!;
    const heads = [NORM, lone, ...PAIRS["compressed-tensors"]!(DOWN)];
    const tensors = heads.map(([name, dtype, shape]) => ({
      name,
      dtype,
      shape,
      chunks: [new Uint8Array(dtypeBytes(dtype, elementCount(shape)))],
    }));
    const from = `part-${part}`;
    mkdirSync(join(folder, from));
    const { chunks } = writeSafetensors(tensors, new Map());
    writeFileSync(
      join(folder, from, "model.safetensors"),
      Buffer.concat([...chunks].map((chunk) => chunk.slice())),
    );
    const config = {
      model_type: "llama",
      num_hidden_layers: 1,
      hidden_size: 64,
      intermediate_size: 64,
      num_attention_heads: 2,
      vocab_size: 256,
      max_position_embeddings: 64,
      rms_norm_eps: 1e-5,
    };
    writeFileSync(join(folder, from, "config.json"), JSON.stringify(config));
    const before = readdirSync(folder);
    for (const args of [
      ["dequantize", from, "-o", "out"],
      ["repack", from, "--to", "quark", "-o", "out"],
      ["quantize", from, "--for", "llama.cpp", "-o", "out.gguf"],
      ["generate", from, "--prompt", "a"],
    ]) {
      const { status, stdout, stderr } = mxfp4(...args);
      expect([status, stdout]).toEqual([1, ""]);
      expect(stderr).toContain(`"${lone[0]}", U8`);
    }
    expect(readdirSync(folder)).toEqual(before);
    expect(mxfp4("inspect", from).stdout).toContain(`"${lone[0]}", U8`);
  });
});
