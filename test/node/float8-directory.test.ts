/** Directories of FP8 as DeepSeek-V3 and compressed-tensors write them: quantized for a loader, and decoded. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import { writeSafetensors } from "../../src/formats/containers/safetensors.ts";
import type { Tensor } from "../../src/formats/tensor.ts";
import { dequantizeMxfp4, quantizeMxfp4 } from "../reference/mxfp4.ts";
import { decodeFloat8 } from "../reference/mxfp8.ts";
import { tensorsOf } from "../support/model-directories.ts";
import { normals, uniform } from "../support/random.ts";

const MAIN = resolve(import.meta.dirname, "../../src/cli/main.ts");
const LAYER = "model.layers.0";
const [ROWS, COLUMNS] = [256, 192];

function f32(name: string, shape: number[], values: ArrayLike<number>): Tensor {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  return { name, dtype: "F32", shape, bytes };
}

function fileOf(tensors: readonly Tensor[]): Uint8Array {
  const { bytes, chunks } = writeSafetensors(
    tensors.map((tensor) => ({ ...tensor, chunks: [tensor.bytes] })),
    new Map(),
  );
  return concatenate(bytes, chunks);
}

/** Codes and scales, each for `rows` × `columns` elements, and the values that they are. */
function weight(name: string, suffix: string, rows: number, columns: number) {
  const next = uniform(name.length);
  const bytes = Uint8Array.from(
    { length: ROWS * COLUMNS },
    () => Math.floor(next() * 0x7e) + (next() < 0.5 ? 0x80 : 0),
  );
  const down = Math.ceil(ROWS / rows);
  const across = Math.ceil(COLUMNS / columns);
  const scales = normals(down * across, 3).map((x) => Math.abs(x) / 100 + 1e-4);
  const values = Float32Array.from(bytes, (code, i) => {
    const row = Math.floor(i / COLUMNS / rows);
    const column = Math.floor((i % COLUMNS) / columns);
    return decodeFloat8(code, "e4m3") * scales[row * across + column]!;
  });
  const codes: Tensor = {
    name,
    dtype: "F8_E4M3",
    shape: [ROWS, COLUMNS],
    bytes,
  };
  return { codes, scales: f32(name + suffix, [down, across], scales), values };
}

const UP = weight(`${LAYER}.mlp.up_proj.weight`, "_scale_inv", 128, 128);
const GATE = weight(`${LAYER}.mlp.gate_proj.weight`, "_scale", 1, COLUMNS);
const HEAD = weight("lm_head.weight", "_scale_inv", 128, 128);
const NORM = f32(
  `${LAYER}.input_layernorm.weight`,
  [COLUMNS],
  normals(COLUMNS, 9),
);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-float8-directory-"));
  const from = join(folder, "fp8");
  mkdirSync(from);
  const quantization_config = {
    quant_method: "fp8",
    weight_block_size: [128, 128],
  };
  writeFileSync(
    join(from, "config.json"),
    JSON.stringify({ model_type: "llama", quantization_config }),
  );
  // Scales lie in another file than their weight, before it or behind it.
  const files: Record<string, Tensor[]> = {
    "a.safetensors": [UP.scales, GATE.codes, HEAD.codes, NORM],
    "b.safetensors": [
      UP.codes,
      GATE.scales,
      HEAD.scales,
      f32(`${LAYER}.mlp.up_proj.input_scale`, [], [2]),
    ],
  };
  const weight_map: Record<string, string> = {};
  for (const [file, tensors] of Object.entries(files)) {
    for (const { name } of tensors) weight_map[name] = file;
    writeFileSync(join(from, file), fileOf(tensors));
  }
  writeFileSync(
    join(from, "model.safetensors.index.json"),
    JSON.stringify({ weight_map }),
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function mxfp4(command: string, from: string, to: string, ...args: string[]) {
  const all = [
    MAIN,
    command,
    join(folder, from),
    "-o",
    join(folder, to),
    ...args,
  ];
  return spawnSync(process.execPath, all, { encoding: "utf8" });
}

const bf16 = (values: Float32Array) =>
  Array.from(new Uint32Array(values.slice().buffer), (word) => {
    return ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff;
  });

test("quantized for vllm: packed from their values, the rest as bf16, no scale left", () => {
  const made = mxfp4("quantize", "fp8", "vllm", "--for", "vllm");
  expect(made.stderr).toContain("2 of 4 tensors in MXFP4");
  const tensors = tensorsOf(join(folder, "vllm"));
  expect([...tensors.keys()].toSorted()).toEqual([
    "lm_head.weight",
    NORM.name,
    ...["gate_proj", "up_proj"].flatMap((each) => [
      `${LAYER}.mlp.${each}.weight_packed`,
      `${LAYER}.mlp.${each}.weight_scale`,
    ]),
  ]);
  for (const { codes, values } of [UP, GATE]) {
    const twin = quantizeMxfp4(values, { ties: "even" }, "even", 1);
    const [elements, scales] = ["packed", "scale"].map(
      (part) => tensors.get(`${codes.name}_${part}`)!.bytes,
    );
    expect({ elements, scales }).toEqual(twin);
    expect(dequantizeMxfp4(twin, 1).some((x) => x !== 0)).toBe(true);
  }
  const head = tensors.get("lm_head.weight")!;
  expect(head.dtype).toBe("BF16");
  expect([...new Uint16Array(head.bytes.slice().buffer)]).toEqual(
    bf16(HEAD.values),
  );
});

test("decoded, each to its values", () => {
  const made = mxfp4("dequantize", "fp8", "floats");
  expect(made.status, made.stderr).toBe(0);
  const tensors = tensorsOf(join(folder, "floats"));
  expect(tensors.size).toBe(4);
  for (const { codes, values } of [UP, GATE, HEAD]) {
    const { dtype, bytes } = tensors.get(codes.name)!;
    expect(dtype).toBe("F32");
    expect([...new Float32Array(bytes.slice().buffer)]).toEqual([...values]);
  }
});

test("what is in blocks already is refused by its name", () => {
  const refused = mxfp4("quantize", "vllm", "twice", "--for", "quark");
  expect(refused.status).toBe(1);
  expect(refused.stderr).toContain("got MXFP4, compressed-tensors, as in");
});
