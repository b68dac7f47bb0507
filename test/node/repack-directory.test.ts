/**
 * `mxfp4-edge repack DIRECTORY --to LAYOUT`: directories as others write them, and what is refused;
 * golden-directories.test.ts goes around the circle of layouts.
 */
import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { RepackOptions } from "../../src/api/tensors.ts";
import { readFolder } from "../../src/checkpoints/read-heads.ts";
import { convertDirectory } from "../../src/cli/convert-directory.ts";
import { localFolder } from "../../src/cli/ranged-files.ts";
import { writeSafetensors } from "../../src/formats/containers/safetensors.ts";
import type { Dtype } from "../../src/formats/dtype.ts";
import type { Tensor } from "../../src/formats/tensor.ts";
import { decodeElement, decodeScale } from "../reference/mxfp4.ts";
import { decodeFloat8 } from "../reference/mxfp8.ts";
import { tensorsOf } from "../support/model-directories.ts";
import { uniform } from "../support/random.ts";

const MAIN = resolve(import.meta.dirname, "../../src/cli/main.ts");
const LAYER = "model.layers.0.mlp";
const UP = `${LAYER}.up_proj`;
const GATE = `${LAYER}.gate_proj`;
const DOWN = `${LAYER}.down_proj`;

let folder: string;
const at = (name: string) => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-repack-directory-"));
  vi.spyOn(console, "error").mockImplementation(() => {});
});
afterAll(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

const next = uniform(5);
const random = (length: number, most = 256) =>
  Uint8Array.from({ length }, () => next() * most);
/** Scales that f32 has values for. */
const scaleBytes = (length: number) => random(length, 40).map((x) => x + 100);

function tensor(
  name: string,
  dtype: Dtype,
  shape: number[],
  bytes: Uint8Array,
): Tensor {
  return { name, dtype, shape, bytes };
}

const CODES = random(64 * 64);
const SCALES = scaleBytes(64 * 4);
const NORM = tensor("model.norm.weight", "BF16", [64], random(128, 60));

/** Files of a directory, each with its tensors. */
function write(name: string, files: Record<string, Tensor[]>, config = {}) {
  mkdirSync(at(name));
  const weight_map: Record<string, string> = {};
  for (const [file, tensors] of Object.entries(files)) {
    for (const each of tensors) weight_map[each.name] = file;
    const { chunks } = writeSafetensors(
      tensors.map((each) => ({ ...each, chunks: [each.bytes] })),
      new Map(),
    );
    const bytes = Buffer.concat([...chunks].map((chunk) => chunk.slice()));
    writeFileSync(join(at(name), file), bytes);
  }
  writeFileSync(
    join(at(name), "model.safetensors.index.json"),
    JSON.stringify({ metadata: { total_size: 1 }, weight_map }),
  );
  writeFileSync(
    join(at(name), "config.json"),
    JSON.stringify({ model_type: "llama", ...config }),
  );
  writeFileSync(join(at(name), "tokenizer.json"), "{}");
}

async function repack(from: string, to: string, options: RepackOptions) {
  await convertDirectory({
    from: at(from),
    to: at(to),
    force: false,
    checkpoint: await readFolder(localFolder(at(from))),
    request: { operation: "repack", options },
  });
  return tensorsOf(at(to));
}

const configOf = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(at(name), "config.json"), "utf8")) as never;

test("DeepSeek's, scales in another file, FP8 beside them: the command makes it vLLM's", () => {
  const codes = random(64 * 64, 0x7f);
  const powers = scaleBytes(4);
  write(
    "deepseek",
    {
      "a.safetensors": [
        tensor(`${UP}.scale`, "F8_E8M0", [64, 4], SCALES),
        tensor(`${DOWN}.weight`, "F8_E4M3", [64, 64], codes),
        NORM,
      ],
      "b.safetensors": [
        tensor(`${UP}.weight`, "I8", [64, 64], CODES),
        tensor(`${DOWN}.scale`, "F8_E8M0", [2, 2], powers),
      ],
    },
    { quantization_config: { quant_method: "fp8" } },
  );
  const args = ["repack", at("deepseek"), "-o", at("vllm")];
  const { stderr, status } = spawnSync(
    process.execPath,
    [MAIN, ...args, "--to", "compressed-tensors"],
    { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
  );
  expect(stderr).toContain(
    "1 tensors in layout compressed-tensors, which vllm loads",
  );
  expect(status).toBe(0);
  const tensors = tensorsOf(at("vllm"));
  expect([...tensors.keys()].toSorted()).toEqual([
    `${DOWN}.weight`,
    `${UP}.weight_packed`,
    `${UP}.weight_scale`,
    NORM.name,
  ]);
  expect(tensors.get(`${UP}.weight_packed`)).toMatchObject({
    dtype: "U8",
    shape: [64, 64],
    bytes: CODES,
  });
  expect(tensors.get(`${UP}.weight_scale`)!.bytes).toEqual(SCALES);
  // BF16 has all bits of a code times a power of two.
  const { dtype, bytes } = tensors.get(`${DOWN}.weight`)!;
  expect(dtype).toBe("BF16");
  const words = [...new Uint16Array(bytes.slice().buffer)];
  const values = new Float32Array(
    Uint32Array.from(words, (word) => word << 16).buffer,
  );
  expect([...values]).toEqual(
    Array.from(codes, (code, i) => {
      const [row, column] = [Math.floor(i / 64), i % 64];
      const power = powers[2 * Math.floor(row / 32) + Math.floor(column / 32)]!;
      return decodeFloat8(code, "e4m3") * 2 ** (power - 127);
    }),
  );
  expect(configOf("vllm").quantization_config).toMatchObject({
    quant_method: "compressed-tensors",
    format: "mxfp4-pack-quantized",
    ignore: [DOWN],
  });
  expect(readdirSync(at("vllm")).toSorted()).toEqual([
    "README.md",
    "config.json",
    "model.safetensors",
    "tokenizer.json",
  ]);
});

test("a layout whose scales are of another type than its loader's is written as that has it", async () => {
  write("e8m0", {
    "model-a.safetensors": [
      tensor(`${UP}.weight_packed`, "U8", [64, 64], CODES),
      tensor(`${UP}.weight_scale`, "F8_E8M0", [64, 4], SCALES),
    ],
  });
  const tensors = await repack("e8m0", "u8", { to: "compressed-tensors" });
  expect(tensors.get(`${UP}.weight_scale`)).toEqual(
    tensor(`${UP}.weight_scale`, "U8", [64, 4], SCALES),
  );
  await expect(
    repack("u8", "again", { to: "compressed-tensors" }),
  ).rejects.toThrow("another layout than compressed-tensors, got 1 that are");
});

test("OpenAI's, of which one block is NaN: stopped with its place, or kept and told", async () => {
  const scales = SCALES.with(9, 255);
  write("openai", {
    "model-a.safetensors": [
      tensor("block.0.mlp.mlp1_weight.blocks", "U8", [64, 4, 16], CODES),
      tensor("block.0.mlp.mlp1_weight.scales", "U8", [64, 4], scales),
    ],
  });
  for (const to of ["gpt-oss", "ggml"] as const) {
    await expect(repack("openai", `no-${to}`, { to })).rejects.toThrow(
      'tensor "block.0.mlp.mlp1_weight", got NaN, scale byte 255, at element 288, [2, 32]',
    );
    const kept = { to, nonfinite: "keep" } as const;
    const tensors = await repack("openai", `kept-${to}`, kept);
    const decoded = decode(to, tensors);
    expect(decoded).toEqual(values(CODES, scales));
  }
  await expect(
    repack("kept-ggml", "nan", { to: "openai" }),
  ).rejects.toMatchObject({ code: "nonfinite_value" });
});

/** [64, 128], by what each layout's reader does. */
function values(codes: Uint8Array, scales: Uint8Array): number[] {
  return Array.from({ length: 64 * 128 }, (_, i) => {
    const byte = codes[Math.floor(i / 2)]!;
    const code = i % 2 === 0 ? byte & 15 : byte >> 4;
    return decodeElement(code) * decodeScale(scales[Math.floor(i / 32)]!);
  });
}

function decode(layout: "gpt-oss" | "ggml", all: Map<string, Tensor>) {
  const name = "block.0.mlp.mlp1_weight";
  if (layout === "gpt-oss")
    return values(
      all.get(`${name}_blocks`)!.bytes,
      all.get(`${name}_scales`)!.bytes,
    );
  const { bytes } = all.get(`${name}_ggml`)!;
  return Array.from({ length: 64 * 128 }, (_, i) => {
    const block = 17 * Math.floor(i / 32);
    const byte = bytes[block + 1 + (i % 16)]!;
    const code = i % 32 < 16 ? byte & 15 : byte >> 4;
    return decodeElement(code) * decodeScale(bytes[block]!);
  });
}

test.each([
  ["repack", ["--to", "mlx"]],
  ["dequantize", []],
  ["quantize", ["--for", "vllm"]],
])("%s writes no directory to stdout", (command, options) => {
  write(`to-stdout-${command}`, { "model-a.safetensors": [NORM] });
  const from = at(`to-stdout-${command}`);
  const { stderr, status } = spawnSync(
    process.execPath,
    [MAIN, command, from, "-o", "-", ...options],
    { encoding: "utf8", cwd: folder },
  );
  expect(stderr).toContain("Expected a directory to write, got -,");
  expect(status).toBe(2);
  expect(readdirSync(folder)).not.toContain("-");
});

test("without a layout the command says which there are", () => {
  const args = [MAIN, "repack", folder, "-o", at("nowhere")];
  const { stderr, status } = spawnSync(process.execPath, args, {
    encoding: "utf8",
  });
  expect(stderr).toContain("Expected --to to be one of gpt-oss, ggml,");
  expect(status).toBe(2);
});

describe("refused, and nothing is left", () => {
  const up = (dtype: Dtype, shape: number[], scaleDtype: Dtype = "U8") => [
    tensor(`${UP}.weight`, dtype, shape, CODES),
    tensor(`${UP}.weight_scale`, scaleDtype, [64, 4], SCALES),
  ];
  test.each<[name: string, Tensor[], RepackOptions, string]>([
    [
      "floats alone",
      [NORM],
      { to: "mlx" },
      "Expected tensors in MXFP4 to repack, got none: the directory holds BF16",
    ],
    [
      "no layout",
      up("U8", [64, 64]),
      {},
      "Expected `to` to be one of gpt-oss,",
    ],
    [
      "one that is in the layout",
      up("U8", [64, 64]),
      { to: "quark" },
      "Expected tensors in another layout than quark, got 1 that are in it",
    ],
    [
      "a name that the layout does not have",
      [
        tensor("experts.down_proj_blocks", "U8", [64, 4, 16], CODES),
        tensor("experts.down_proj_scales", "U8", [64, 4], SCALES),
      ],
      { to: "mlx" },
      'Expected names that end in "weight" for layout mlx, got "experts.down_proj"',
    ],
    [
      "a name that is taken",
      [
        ...up("U8", [64, 64]),
        tensor(`${UP}.weight_blocks`, "I64", [1], random(8)),
      ],
      { to: "gpt-oss" },
      `got "${UP}.weight_blocks"`,
    ],
    [
      "MXFP8",
      [
        tensor(`${UP}.weight`, "F8_E4M3", [64, 64], CODES),
        tensor(`${UP}.weight_scale`, "U8", [64, 2], SCALES.slice(0, 128)),
      ],
      { to: "mlx" },
      `got mxfp8-e4m3 in "${UP}.weight"`,
    ],
    [
      "FP8 that BF16 does not hold",
      [
        ...up("U8", [64, 64]),
        tensor(`${GATE}.weight`, "F8_E4M3", [64, 64], random(4096, 0x7f)),
        tensor(`${GATE}.weight_scale`, "F32", [1], random(4, 60)),
      ],
      { to: "mlx" },
      `got "${GATE}.weight" with scales of F32`,
    ],
    [
      "NVFP4",
      [
        tensor(`${UP}.weight_packed`, "U8", [64, 64], CODES),
        tensor(`${UP}.weight_scale`, "F8_E4M3", [64, 8], random(512, 100)),
      ],
      { to: "quark" },
      "got NVFP4, compressed-tensors in",
    ],
    [
      "layers that a loader runs as one, of which one is packed",
      [
        ...up("U8", [64, 64]),
        tensor(`${GATE}.weight`, "BF16", [64, 128], random(16_384, 60)),
      ],
      { to: "compressed-tensors" },
      "to be packed together or not at all",
    ],
    [
      "files that cannot hold a tensor",
      up("U8", [64, 64]),
      { to: "mlx", maxShardSize: 4000 } as RepackOptions,
      "Expected files that hold the 4352 bytes",
    ],
  ])("%s", async (name, tensors, options, message) => {
    const from = name.replaceAll(" ", "-");
    write(from, { "model-a.safetensors": tensors });
    const before = readdirSync(folder);
    await expect(repack(from, "never", options)).rejects.toThrow(message);
    expect(readdirSync(folder)).toEqual(before);
  });
});
