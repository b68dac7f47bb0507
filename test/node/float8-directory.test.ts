/** Directories of FP8 as DeepSeek-V3 and compressed-tensors write them: quantized for a loader, and decoded. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
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

/** A directory of one FP8 weight whose `at`th code is `code`, its scale `scale`. */
function directoryOf(name: string, at: number, code: number, scale: number) {
  const path = join(folder, name);
  mkdirSync(path);
  const bytes = new Uint8Array(64 * 64).fill(0x38);
  bytes[at] = code;
  const weight = `${LAYER}.mlp.up_proj.weight`;
  const codes: Tensor = {
    name: weight,
    dtype: "F8_E4M3",
    shape: [64, 64],
    bytes,
  };
  const file = fileOf([f32(`${weight}_scale`, [], [scale]), codes]);
  writeFileSync(join(path, "model.safetensors"), file);
  writeFileSync(join(path, "config.json"), '{"model_type":"llama"}');
}

describe("a value of FP8 that is not finite, or becomes so", () => {
  const CASES = [
    // NaN of E4M3; 448 times what f16 still holds; infinite in f32 already.
    ["nan", 0x7f, 1, "NaN", "f32"],
    ["large", 0x7e, 1000, "a value beyond f16", "f16"],
    ["larger", 0x7e, 3e38, "Infinity", "bf16"],
  ] as const;
  beforeAll(() => {
    for (const [name, code, scale] of CASES)
      directoryOf(name, 64 * 7 + 3, code, scale);
  });

  test.each(CASES)(
    "%s stops with its place, unless it is kept",
    (name, _code, _scale, got, dtype) => {
      const args = ["dequantize", name, `${name}-floats`, "--dtype", dtype];
      const [command, from, to, ...options] = args as [string, string, string];
      const stopped = mxfp4(command, from, to, ...options);
      expect(stopped.status).toBe(1);
      expect(stopped.stderr).toContain(`got ${got}`);
      expect(stopped.stderr).toContain("element 451, [7, 3]");
      expect(existsSync(join(folder, to))).toBe(false);
      const kept = mxfp4(command, from, to, ...options, "--nonfinite", "keep");
      expect(kept.stderr).toContain("the first is element 451");
      expect(kept.status).toBe(0);
      if (dtype === "f16") return;
      const packed = mxfp4("quantize", from, `${name}-vllm`, "--for", "vllm");
      expect(packed.status).toBe(1);
      expect(packed.stderr).toContain("element 451");
    },
  );
});

describe("a weight without its scale", () => {
  const bare: Tensor = {
    name: `${LAYER}.mlp.down_proj.weight`,
    dtype: "F8_E4M3",
    shape: [64, 64],
    bytes: new Uint8Array(64 * 64).fill(0x38),
  };
  const config = {
    model_type: "llama",
    text_config: { quantization_config: { quant_method: "fp8" } },
  };

  test.each<[string, Tensor[], object, string]>([
    [
      "beside-others",
      [UP.codes, UP.scales],
      config,
      `"${UP.codes.name}" has one`,
    ],
    [
      "beside-others-untold",
      [UP.codes, UP.scales],
      { model_type: "llama" },
      `"${UP.codes.name}" has one`,
    ],
    ["told-by-config", [], config, "config.json tells of a quantizer"],
  ])("%s is refused before anything is written", (name, others, told, as) => {
    const path = join(folder, name);
    mkdirSync(path);
    const file = fileOf([...others, bare]);
    writeFileSync(join(path, "model.safetensors"), file);
    writeFileSync(join(path, "config.json"), JSON.stringify(told));
    for (const [command, ...options] of [
      ["quantize", "--for", "vllm"],
      ["dequantize"],
    ]) {
      const to = `${name}-${command}`;
      const refused = mxfp4(command!, name, to, ...options);
      expect(refused.stderr).toContain(
        `Expected a scale beside "${bare.name}", F8_E4M3, as ${as}`,
      );
      expect(refused.status).toBe(1);
      expect(existsSync(join(folder, to))).toBe(false);
    }
  });
});

test("what quantizers said beside config.json is left out, and told", () => {
  const path = join(folder, "modelopt");
  mkdirSync(path);
  writeFileSync(join(path, "model.safetensors"), fileOf([UP.codes, UP.scales]));
  writeFileSync(join(path, "config.json"), '{"model_type":"llama"}');
  const former = [
    "hf_quant_config.json",
    "quant_config.json",
    "quantize_config.json",
  ];
  for (const name of former) writeFileSync(join(path, name), "{}");
  for (const [command, ...options] of [
    ["quantize", "--for", "vllm"],
    ["dequantize"],
  ]) {
    const to = `modelopt-${command}`;
    const made = mxfp4(command!, "modelopt", to, ...options, "--json");
    expect(made.status).toBe(0);
    expect(JSON.parse(made.stdout)).toMatchObject({ leftOut: former });
    for (const name of former)
      expect(existsSync(join(folder, to, name))).toBe(false);
  }
});

test("a file alone in MXFP8 is refused by its name", () => {
  const weight = `${LAYER}.mlp.up_proj.weight`;
  const codes: Tensor = {
    name: weight,
    dtype: "F8_E4M3",
    shape: [32, 64],
    bytes: new Uint8Array(2048).fill(0x38),
  };
  const scales: Tensor = {
    name: `${weight}_scale`,
    dtype: "U8",
    shape: [32, 2],
    bytes: new Uint8Array(64).fill(127),
  };
  writeFileSync(join(folder, "mxfp8.safetensors"), fileOf([codes, scales]));
  for (const command of ["quantize", "analyze"]) {
    const to = command === "quantize" ? "mxfp8.out" : undefined;
    const args = [MAIN, command, join(folder, "mxfp8.safetensors")];
    const all = to ? [...args, "-o", join(folder, to)] : args;
    const refused = spawnSync(process.execPath, all, { encoding: "utf8" });
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain("MXFP8");
    expect(refused.stdout).toBe("");
  }
});
