/** `mxfp4-edge quantize DIRECTORY --for llama.cpp`: which bytes, keys and refusals; llama-directory.test.ts asks llama.cpp. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { quantizeDirectory } from "../../src/cli/quantize-directory.ts";
import { quantizeGguf } from "../../src/cli/quantize-gguf.ts";
import type { Target } from "../../src/api/scheme.ts";
import type { QuantizeOptions } from "../../src/api/tensors.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import { ggufText } from "../../src/formats/containers/gguf-value.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import {
  DECODERS,
  decoderShapes,
  randomValues,
  writeDirectory,
} from "../support/family-models.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const FIXTURES = join(import.meta.dirname, "../fixtures/hf");
const at = (name: string) => join(folder, name);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-gguf-directory-"));
  vi.spyOn(console, "error").mockImplementation(() => {});
  write("mixtral", "mixtral");
});
afterAll(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

/** A directory of the family, with what `change` makes of its config and shapes. */
function write(
  name: string,
  family: string,
  change: {
    config?: object;
    shapes?: (all: Shapes) => Shapes;
    dtype?: "BF16" | "F64";
    files?: number;
  } = {},
): string {
  const config = { ...DECODERS[family]!, ...change.config };
  const shapes = decoderShapes(config);
  const values = randomValues(change.shapes?.(shapes) ?? shapes);
  writeDirectory(at(name), config, values, change);
  return at(name);
}
type Shapes = ReturnType<typeof decoderShapes>;

async function made(
  from: string,
  options: QuantizeOptions = {},
): Promise<Awaited<ReturnType<typeof read>>> {
  const to = at("made.gguf");
  await quantizeGguf({ from, to, asJson: false, force: true, options });
  return read(to);
}

async function read(path: string) {
  const bytes = new Uint8Array(readFileSync(path));
  const file = await readTensorFile(sourceOf(bytes), bytes.length);
  const tensors = new Map(
    file.tensors.map(({ name, dtype, shape, start, end }) => {
      const { headBytes } = file;
      const own = bytes.subarray(headBytes + start, headBytes + end);
      return [name, { dtype, shape, bytes: Buffer.from(own) }];
    }),
  );
  const pairs = Object.fromEntries(
    [...file.metadata].map(([key, value]) => [
      key,
      ggufText(value as Uint8Array),
    ]),
  );
  return { tensors, pairs };
}

describe("a directory that is in MXFP4 already", () => {
  const packed = (from: string, name: string, target: Target) =>
    quantizeDirectory({
      from,
      to: at(name),
      asJson: false,
      force: true,
      withFigures: false,
      options: {
        for: target,
        rounding: "nearest-zero",
        maxShardSize: 150_000,
      },
    });

  test.each([
    ["gpt2", "vllm", 8],
    ["llama", "vllm", 14],
    ["llama", "mlx", 14],
    ["llama", "quark", 14],
    ["gpt_oss", "transformers", 6],
    ["mixtral", "vllm", 14],
  ] as const)(
    "%s for %s: its codes and scales are moved",
    async (model, target, count) => {
      const from = model === "mixtral" ? at("mixtral") : join(FIXTURES, model);
      await packed(from, `${model}-${target}`, target);
      // Other options for what is not packed yet would show if anything was quantized anew.
      const moved = await made(at(`${model}-${target}`), {
        scale: "ceil",
        tensorType: ["*=keep"],
      });
      const direct = await made(from, { rounding: "nearest-zero" });
      let same = 0;
      for (const [name, tensor] of moved.tensors) {
        if (tensor.dtype !== "MXFP4") continue;
        same++;
        expect(tensor, name).toEqual(direct.tensors.get(name));
      }
      expect(same).toBe(count);
      expect([...moved.tensors.keys()]).toEqual([...direct.tensors.keys()]);
    },
  );
});

test("what stays has its dtype, but for what llama.cpp wants in F32", async () => {
  const options = { outputType: "keep", tensorType: ["*ffn_up*=f16"] } as const;
  const { tensors, pairs } = await made(
    write("bf16", "qwen3", { dtype: "BF16" }),
    options,
  );
  const types = Object.fromEntries(
    [...tensors].map(([name, { dtype }]) => [name, dtype]),
  );
  expect(types).toMatchObject({
    "token_embd.weight": "BF16",
    "output.weight": "BF16",
    "blk.0.attn_norm.weight": "F32",
    "blk.0.attn_q_norm.weight": "F32",
    "blk.0.attn_q.weight": "MXFP4",
    "blk.1.ffn_up.weight": "F16",
  });
  expect(pairs).toMatchObject({
    "general.architecture": "qwen3",
    "general.name": "bf16",
    "general.file_type": "38",
    "qwen3.block_count": "2",
    "qwen3.attention.head_count_kv": "2",
    "qwen3.attention.key_length": "16",
    "qwen3.feed_forward_length": "96",
    "qwen3.rope.freq_base": "10000",
    "mxfp4.tensor_type": '["*ffn_up*=f16"]',
  });
});

test("a NaN is heard in what stays as it is", async () => {
  const config = DECODERS["qwen3"]!;
  const values = randomValues(decoderShapes(config));
  values.get("model.norm.weight")!.values[3] = NaN;
  writeDirectory(at("dead"), config, values);
  await expect(made(at("dead"))).rejects.toMatchObject({
    code: "nonfinite_value",
    message: expect.stringContaining(
      'tensor "output_norm.weight", got NaN at element 3, [3];',
    ) as string,
  });
});

test("F64 is read, and what it would be in F32 comes of it", async () => {
  const wide = await made(write("f64", "llama", { dtype: "F64" }));
  const plain = await made(write("f32", "llama"));
  expect(wide.tensors).toEqual(plain.tensors);
});

test("patterns call tensors by llama.cpp's names or by the checkpoint's", async () => {
  const typesOf = async (options: QuantizeOptions) =>
    [...(await made(at("mixtral"), options)).tensors]
      .filter(([, { dtype }]) => dtype === "MXFP4")
      .map(([name]) => name);
  expect(await typesOf({ include: ["*.1.self_attn.q_proj*"] })).toEqual([
    "blk.1.attn_q.weight",
  ]);
  expect(await typesOf({ include: ["blk.0.ffn_*_exps*"] })).toEqual([
    "blk.0.ffn_down_exps.weight",
    "blk.0.ffn_gate_exps.weight",
    "blk.0.ffn_up_exps.weight",
  ]);
  // One expert's name stands for the stack that it lies in.
  const without = await typesOf({ exclude: ["*experts.3.w2*", "blk.*.attn*"] });
  expect(without).toEqual([
    "blk.0.ffn_gate_exps.weight",
    "blk.0.ffn_up_exps.weight",
    "blk.1.ffn_gate_exps.weight",
    "blk.1.ffn_up_exps.weight",
  ]);
});

test("however the checkpoint's files are cut, the bytes are the same, noise and all", async () => {
  const options = { rounding: "stochastic", seed: 7 } as const;
  const one = await made(at("mixtral"), options);
  const cut = await made(write("cut", "mixtral", { files: 3 }), options);
  expect(cut.tensors).toEqual(one.tensors);
  const other = await made(at("mixtral"), { ...options, seed: 8 });
  expect(other.tensors).not.toEqual(one.tensors);
});

describe("refused in a line", () => {
  const without = (pattern: RegExp) => (all: Shapes) =>
    all.filter(([name]) => !pattern.test(name));
  const rope = (rope_parameters: object) => ({ config: { rope_parameters } });
  test.each<[string, Parameters<typeof write>[2], string]>([
    [
      "a model that is not known",
      { config: { model_type: "phi3" } },
      "Expected a config.json with `model_type` gpt2, llama, mistral,",
    ],
    [
      "a rope that it has not",
      rope({ rope_type: "dynamic", rope_theta: 1, factor: 2 }),
      'a rope of type default, linear, llama3 or yarn, which llama.cpp computes, got "dynamic"',
    ],
    [
      "factors that go by a text's length",
      rope({
        rope_type: "longrope",
        rope_theta: 1e4,
        short_factor: [1],
        long_factor: [2],
        attention_factor: 1,
      }),
      'llama3 or yarn, which llama.cpp computes, got "longrope"',
    ],
    [
      "a rope that older files have beside",
      { config: { rope_scaling: { type: "dynamic", factor: 2 } } },
      'llama3 or yarn, which llama.cpp computes, got "dynamic"',
    ],
    [
      "a rope by no factor",
      rope({ rope_type: "linear", rope_theta: 1 }),
      'got "linear" without `factor`',
    ],
    [
      "a rope of a part of a head",
      rope({ rope_type: "default", partial_rotary_factor: 0.5 }),
      "Expected `partial_rotary_factor` 1, which llama.cpp computes, got 0.5",
    ],
    [
      "the same, told beside",
      { config: { partial_rotary_factor: 0.25 } },
      "Expected `partial_rotary_factor` 1, which llama.cpp computes, got 0.25",
    ],
    [
      "other bounds of yarn, which it reads of other models",
      rope({ rope_type: "yarn", factor: 2, beta_fast: 16 }),
      "Expected `beta_fast` 32 of yarn, which llama.cpp computes, got 16",
    ],
    [
      "bounds of yarn that are not rounded",
      rope({ rope_type: "yarn", factor: 2, truncate: false }),
      "Expected `truncate` true of yarn, which llama.cpp computes, got false",
    ],
    [
      "an activation that its graph has not",
      { config: { hidden_act: "relu" } },
      'Expected `hidden_act` "silu", which llama.cpp computes, got "relu"',
    ],
    [
      "a bias behind the attention of a Qwen",
      { config: { model_type: "qwen3", attention_bias: true } },
      "Expected `attention_bias` false, which llama.cpp computes, got true",
    ],
    [
      "a number that is missing",
      { config: { rms_norm_eps: null } },
      "Expected config.json to have a number `rms_norm_eps`, got null",
    ],
    [
      "a tensor that it has no name for",
      {
        shapes: (all) => [
          ...all,
          ["model.layers.0.self_attn.gate.weight", 64, 64],
        ],
      },
      'Expected tensors that llama.cpp has in such a model, got "model.layers.0.self_attn.gate.weight"',
    ],
    [
      "no head",
      { shapes: without(/lm_head/) },
      "Expected a model with a head, or one that is tied to its table",
    ],
    [
      "an expert that is missing",
      { shapes: without(/experts\.1\.w3/) },
      "Expected experts 0, 1, … of one shape and type, got",
    ],
    [
      "rows that are no whole heads",
      {
        shapes: (all) =>
          all.map((each) =>
            each[0].includes("0.self_attn.q_proj") ? [each[0], 60, 64] : each,
          ),
      },
      'Expected rows of "model.layers.0.self_attn.q_proj.weight" to be a multiple of 16, got 60',
    ],
  ])("%s", async (name, change, message) => {
    const path = write(name, "mixtral", change);
    await expect(made(path)).rejects.toThrow(message);
  });

  test.each<[string, QuantizeOptions, string]>([
    ["a rotation", { hadamard: 32 }, "Expected prescale=1 and hadamard=0"],
    [
      "a pattern of nothing",
      { tensorType: ["blk.0.ffn_dwn*=q8_0"] },
      'got "blk.0.ffn_dwn*", which matches none; the closest names are "blk.0.',
    ],
    [
      "a type that none can be of",
      { tensorType: ["*layernorm*=mxfp4"] },
      "which llama.cpp wants as F32",
    ],
    [
      "nothing to do",
      { exclude: ["*"] },
      "Expected tensors to quantize, got none",
    ],
  ])("%s", async (_, options, message) => {
    await expect(made(at("mixtral"), options)).rejects.toThrow(message);
  });
});

describe("the command", () => {
  function quantize(...args: string[]) {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [join(ROOT, "src/cli/main.ts"), "quantize", at("mixtral"), ...args],
      { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
    );
    return { status, stdout, stderr };
  }

  test("--show tells what llama.cpp gets, of which tensors, and writes nothing", () => {
    const before = readdirSync(folder);
    const { status, stdout } = quantize(
      "--for",
      "llama.cpp",
      "--show",
      "--json",
    );
    expect(status).toBe(0);
    const { tensors } = JSON.parse(stdout) as {
      tensors: { name: string; sources: string[]; becomes: string }[];
    };
    const find = (name: string) => tensors.find((each) => each.name === name);
    expect(find("blk.1.ffn_up_exps.weight")).toMatchObject({
      sources: [0, 1, 2, 3].map(
        (e) => `model.layers.1.block_sparse_moe.experts.${e}.w3.weight`,
      ),
      shape: [4, 96, 64],
      becomes: "MXFP4",
      bytes: (4 * 96 * 64 * 17) / 32,
    });
    expect(find("output.weight")).toMatchObject({ becomes: "Q8_0" });
    expect(find("blk.0.ffn_gate_inp.weight")).toMatchObject({ becomes: "F32" });
    expect(readdirSync(folder)).toEqual(before);
  });

  test("writes one file, and says that the directory has no tokenizer", async () => {
    const to = at("command.gguf");
    const { status, stderr } = quantize("--for", "llama.cpp", "-o", to);
    expect(status).toBe(0);
    expect(stderr).toMatch(
      /command\.gguf: 14 of 23 tensors in MXFP4 for llama\.cpp, .* tokens are called by their ids/,
    );
    expect((await read(to)).tensors).toEqual(
      (await made(at("mixtral"))).tensors,
    );
  });

  test.each([
    [["--figures"], "Expected no --figures of a directory for llama.cpp"],
    [["--rotate", "fold"], "Expected no --rotate of a directory for llama.cpp"],
    [["--max-shard-size", "1GB"], "Expected no --max-shard-size"],
    [["--tensor-type", "*=q4"], "to be a pattern, = and one of mxfp4, q8_0,"],
  ])("%s is refused", (args, message) => {
    const { status, stderr } = quantize(
      "--for",
      "llama.cpp",
      "-o",
      at("no"),
      ...args,
    );
    expect(stderr).toContain(message);
    expect(status).toBe(2);
  });
});
