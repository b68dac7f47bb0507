/** Directories and outputs as people have them: links, pipes, other weights, the input for an output, a full disk. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Checkpoint,
  tensorFiles,
} from "../../src/checkpoints/checkpoint.ts";
import { configProblems } from "../../src/checkpoints/config-sizes.ts";
import { inspect } from "../../src/checkpoints/inspect.ts";
import { readFolder } from "../../src/checkpoints/read-heads.ts";
import { checkApart } from "../../src/cli/apart.ts";
import { localFile } from "../../src/cli/ranged-files.ts";
import { localFolder } from "../../src/cli/ranged-files.ts";
import { explained } from "../../src/cli/system-errors.ts";
import { writeModel } from "../support/model-directories.ts";

const LLAMA = {
  hidden_act: "silu",
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  vocab_size: 256,
};

const ROOT = join(import.meta.dirname, "../..");
let folder: string;

const at = (...names: string[]) => join(folder, ...names);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-odd-"));
  writeModel(at("model"), "llama", 1);
  // Made up, which llama.cpp's vocabulary could not be.
  rmSync(at("model", "tokenizer.json"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function mxfp4(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["src/cli/main.ts", ...args],
    { cwd: ROOT, encoding: "utf8", timeout: 60_000 },
  );
  return { status, stdout, stderr };
}

describe("a folder's entries", () => {
  test("a link is what it leads to, and one that leads nowhere is a file that is not there", async () => {
    mkdirSync(at("links"));
    symlinkSync(at("model"), at("links", "folder"));
    symlinkSync(at("model", "config.json"), at("links", "config.json"));
    symlinkSync(at("nowhere"), at("links", "lost.json"));
    symlinkSync("loop.json", at("links", "loop.json"));
    const links = localFolder(at("links"));
    expect((await links.list())!.toSorted()).toEqual([
      "config.json",
      "loop.json",
      "lost.json",
    ]);
    expect(await links.folders!()).toEqual(["folder"]);
    await expect(links.open("lost.json")).rejects.toThrow(
      `Expected a readable file, got ${at("links", "lost.json")}`,
    );
  });

  test("without safetensors, what may have been meant", () => {
    expect(() =>
      tensorFiles(["config.json", "pytorch_model.bin"], undefined, ["vae"]),
    ).toThrow(
      "got none; pytorch_model.bin is no safetensors, and not read; a model may lie in vae",
    );
  });

  test.each([
    ["", "Expected safetensors with at least 8 bytes, got 0, in "],
    ["version https://git-lfs.github.com/spec/v1\n", "`git lfs pull`, in "],
  ])("a head that is none is told with its file: %j", async (text, message) => {
    const odd = at(`head-${text.length}`);
    mkdirSync(odd);
    writeFileSync(join(odd, "weights.safetensors"), text);
    await expect(readFolder(localFolder(odd))).rejects.toThrow(
      `${message}weights.safetensors`,
    );
  });

  test("a config.json with a byte order mark", async () => {
    const marked = at("marked");
    writeModel(marked, "llama", 1);
    writeFileSync(join(marked, "config.json"), '\uFEFF{"model_type":"x"}');
    const { config } = await readFolder(localFolder(marked));
    expect(config).toEqual({ model_type: "x" });
  });
});

describe("an output is beside what is read", () => {
  test.each<[from: string[], to: string[], told: string | undefined]>([
    [["model"], ["model"], "which is"],
    [["model"], ["model", ""], "which is"],
    [["linked"], ["model"], "which is"],
    [["model"], ["."], "which contains"],
    [["model", "config.json"], ["model"], "which contains"],
    [["model", "config.json"], ["linked", "config.json"], "which is"],
    [["model"], ["model", "out"], undefined],
    [["model"], ["model-mxfp4"], undefined],
    [["absent", "x"], ["model"], undefined],
  ])("%j to %j", (from, to, told) => {
    if (!existsSync(at("linked"))) symlinkSync(at("model"), at("linked"));
    const check = () => checkApart(at(...from), at(...to));
    if (told === undefined) expect(check).not.toThrow();
    else expect(check).toThrow(`Expected an output outside the input, got`);
    if (told !== undefined) expect(check).toThrow(told);
  });

  test.each([
    ["a directory", ["model", "-o", "model", "--for", "vllm"]],
    ["a file", ["model/model.safetensors", "-o", "model/model.safetensors"]],
    [
      "a file of a directory",
      ["model", "-o", "model/model.safetensors", "--for", "llama.cpp"],
    ],
  ])("%s, by command", (_, [from, , to, ...rest]) => {
    const config = { model_type: "llama", ...LLAMA };
    writeFileSync(at("model", "config.json"), JSON.stringify(config));
    const before = readFileSync(at("model", "model.safetensors"));
    const paths = [at(from!), "-o", at(to!), "--force"];
    const { status, stderr } = mxfp4("quantize", ...paths, ...rest);
    expect(stderr).toContain("Expected an output outside the input");
    expect(status).toBe(1);
    expect(readFileSync(at("model", "model.safetensors"))).toEqual(before);
  });
});

describe("an output by the name of another kind of thing is refused, and not written:", () => {
  const TO_GGUF = "; `quantize --for llama.cpp` writes a GGUF";
  test.each([
    ["model", "x.gguf", ["--for", "vllm"], "a folder", TO_GGUF],
    ["model", "x.SAFETENSORS", ["--for", "vllm"], "a folder", ""],
    ["model", "x.safetensors", ["--for", "llama.cpp"], "a GGUF", ""],
    ["model/model.safetensors", "x.gguf", [], "safetensors", ""],
  ])("quantize %s to %s %j", (from, to, rest, written, remedy) => {
    const config = { model_type: "llama", ...LLAMA };
    writeFileSync(at("model", "config.json"), JSON.stringify(config));
    const refused = mxfp4("quantize", at(from), "-o", at(to), ...rest);
    expect(refused.stderr.split("\n")[0]).toBe(
      `Expected --output to be a name for ${written}, which is what is written, got ${at(to)}${remedy}`,
    );
    expect(refused.status).toBe(2);
    expect(existsSync(at(to))).toBe(false);
  });
});

describe("sizes of config.json", () => {
  const rows = 100;
  const tensors = [
    { name: "model.embed_tokens.weight", shape: [rows, 64], dtype: "F32" },
  ] as unknown as Checkpoint["tensors"];
  const whole = { model_type: "llama", ...LLAMA, vocab_size: rows };

  test.each([
    [{ hidden_size: -64 }, "whole `hidden_size` from 1 to 2147483647, got -64"],
    [{ hidden_size: 0 }, "whole `hidden_size` from 1"],
    [{ hidden_size: 64.5 }, "got 64.5"],
    [{ vocab_size: 1e300 }, "got 1e+300"],
    [{ num_hidden_layers: 0 }, "whole `num_hidden_layers` from 1"],
    [{ num_attention_heads: -1 }, "whole `num_attention_heads` from 0"],
    [{ intermediate_size: Infinity }, "got Infinity"],
    [{ num_attention_heads: 3, num_key_value_heads: 3 }, "got 64 and 3 heads"],
    [{ num_key_value_heads: 3 }, "got 4 heads and `num_key_value_heads` 3"],
    [{ vocab_size: 99 }, 'of "model.embed_tokens.weight", 100, got 99'],
  ])("%j are refused, as every loader would", (told, message) => {
    const problems = configProblems({ config: { ...whole, ...told }, tensors });
    expect(problems.join()).toContain(message);
    const { loaders } = inspect({ config: { ...whole, ...told }, tensors });
    for (const { loads, refusals } of loaders) {
      expect(loads).toBe(false);
      expect(refusals.join()).toContain(message);
    }
  });

  const matrix = (name: string, ...shape: number[]) => ({
    name,
    dtype: "F32",
    shape,
  });
  const LAYER = "model.layers.0";
  const GPT2 = {
    model_type: "gpt2",
    n_embd: 64,
    n_layer: 1,
    n_head: 4,
    n_positions: 32,
    vocab_size: rows,
  };
  const WRITES = {
    architectures: ["LlamaForCausalLM"],
    tie_word_embeddings: false,
  };
  test.each([
    [{}, matrix("model.embed_tokens.weight", rows, 96), "`hidden_size` of \"model.embed_tokens.weight\" [100, 96], 96, got 64"], // prettier-ignore
    [{ num_hidden_layers: 1 }, matrix(`${LAYER}.mlp.up_proj.weight`, 160, 64), "`intermediate_size` of"], // prettier-ignore
    [{ num_hidden_layers: 1 }, matrix(`${LAYER}.mlp.down_proj.weight`, 64, 160), "`intermediate_size` of"], // prettier-ignore
    [{ num_hidden_layers: 1 }, matrix(`${LAYER}.self_attn.q_proj.weight`, 96, 64), "96, got 64"], // prettier-ignore
    [{ num_hidden_layers: 1, head_dim: 32 }, matrix(`${LAYER}.self_attn.k_proj.weight`, 32, 64), "32, got 64"], // prettier-ignore
    [{}, matrix(`${LAYER}.mlp.up_proj.weight`, 128, 64), "`num_hidden_layers` of the 1 layers that have tensors, got 2"], // prettier-ignore
    [WRITES, matrix("model.embed_tokens.weight", rows, 64), 'Expected "lm_head.weight", since config.json of a "LlamaForCausalLM"'], // prettier-ignore
    [{ ...GPT2, n_inner: 128 }, matrix("h.0.mlp.c_fc.weight", 64, 256), "`n_inner` of \"h.0.mlp.c_fc.weight\" [64, 256], 256, got 128"], // prettier-ignore
    [GPT2, matrix("transformer.wpe.weight", 64, 64), "`n_positions` of"],
  ])("%j are unlike %j", (told, tensor, message) => {
    const own = "n_embd" in told ? told : { ...whole, ...told };
    const one = [tensor] as unknown as Checkpoint["tensors"];
    const problems = configProblems({ config: own, tensors: one });
    expect(problems).toEqual([expect.stringContaining(message)]);
  });

  test("what says the same of both is somebody's", () => {
    const problems = (told: object, ...names: string[]) =>
      configProblems({
        config: { ...whole, ...told },
        tensors: names.map((name) =>
          matrix(name, rows, 64),
        ) as unknown as Checkpoint["tensors"],
      });
    const table = "model.embed_tokens.weight";
    expect(problems(WRITES, table, "lm_head.weight")).toEqual([]);
    expect(problems({ ...WRITES, tie_word_embeddings: true }, table)).toEqual(
      [],
    );
    expect(
      problems(
        {
          tie_word_embeddings: false,
          architectures: ["LlamaForSequenceClassification"],
        },
        table,
        "score.weight",
      ),
    ).toEqual([]);
    const packed = {
      name: `${LAYER}.mlp.down_proj.weight`,
      dtype: "U8",
      shape: [64, 64],
    };
    expect(
      configProblems({
        config: { ...whole, num_hidden_layers: 1 },
        tensors: [packed] as unknown as Checkpoint["tensors"],
      }),
    ).toEqual([]);
  });

  test.each([
    {},
    // Nothing, and a size for each layer.
    { num_key_value_heads: null, intermediate_size: [128, 256] },
    { num_attention_heads: 3, num_key_value_heads: 1, head_dim: 32 },
    { model_type: "mistral", num_attention_heads: 3, num_key_value_heads: 1 },
    { model_type: "mamba", num_attention_heads: 0, intermediate_size: 0 },
    { model_type: "made-up", vocab_size: 99, num_key_value_heads: 3 },
    { max_position_embeddings: -1 },
  ])("%j are somebody's", (told) => {
    expect(configProblems({ config: { ...whole, ...told }, tensors })).toEqual(
      [],
    );
  });

  test("the command says so before it writes", () => {
    writeModel(at("sizes"), "llama", 1);
    const config = { model_type: "llama", ...LLAMA, hidden_size: -64 };
    writeFileSync(at("sizes", "config.json"), JSON.stringify(config));
    for (const loader of ["vllm", "llama.cpp"]) {
      const to = at(`sizes-${loader}`);
      const args = ["quantize", at("sizes"), "-o", to, "--for", loader];
      const { status, stderr } = mxfp4(...args);
      expect(stderr).toContain("whole `hidden_size` from 1");
      expect(status).toBe(1);
      expect(existsSync(to)).toBe(false);
    }
    const { stdout, status } = mxfp4("inspect", at("sizes"));
    expect(stdout.match(/whole `hidden_size` from 1/g)!.length).toBeGreaterThan(
      3,
    );
    expect(status).toBe(0);
  });
});

test("folders of sentence-transformers' modules, which are not taken along, are told to be missing", () => {
  const folder = at("sentences");
  writeModel(folder, "llama", 1);
  for (const name of ["1_Pooling", "2_Dense", "onnx"])
    mkdirSync(join(folder, name));
  const modules = ["", "1_Pooling", "2_Dense"].map((path, idx) => ({
    idx,
    path,
  }));
  const convert = (to: string, listed: string) => {
    writeFileSync(join(folder, "modules.json"), listed);
    return mxfp4("quantize", folder, "-o", at(to), "--for", "vllm");
  };
  const told = convert("sentences-vllm", JSON.stringify(modules));
  expect(told.status).toBe(0);
  expect(told.stderr).toMatch(
    /^missing: 1_Pooling\/, 2_Dense\/, which loaders need$/m,
  );
  expect(told.stderr).toMatch(/^left out: .*onnx\//m);
  // Any other file is copied as it is.
  for (const [i, listed] of [
    '{"path":"onnx"}',
    "[null, 1]",
    "no JSON",
  ].entries()) {
    const { stderr, status } = convert(`sentences-${i}`, listed);
    expect(status).toBe(0);
    expect(stderr).not.toContain("missing:");
  }
});

test("what is not taken along is told, and what cannot be read before anything is written", () => {
  const odd = at("odd");
  writeModel(odd, "llama", 1);
  writeFileSync(join(odd, "consolidated.safetensors"), "");
  rmSync(join(odd, "config.json"));
  const args = ["quantize", odd, "-o", at("taken"), "--for", "vllm", "--json"];
  const taken = mxfp4(...args);
  expect(taken.stderr).toContain("missing: config.json");
  expect(taken.stderr).toContain("left out: ");
  const { leftOut } = JSON.parse(taken.stdout) as { leftOut: string[] };
  expect(leftOut.toSorted()).toEqual([
    "consolidated.safetensors",
    "original/",
    "pytorch_model.bin",
  ]);
  // Its own output, in the directory that it reads, is none of that.
  const inside = ["-o", join(odd, "made"), "--for", "vllm", "--json"];
  const within = mxfp4("quantize", odd, ...inside);
  expect(within.status).toBe(0);
  expect(JSON.parse(within.stdout)).toMatchObject({ leftOut });
  spawnSync("mkfifo", [join(odd, "pipe")]);
  const refused = mxfp4(...args, "--force");
  expect(refused.stderr).toContain(
    `Expected a readable file, got ${join(odd, "pipe")}`,
  );
  expect(refused.status).toBe(1);
});

test.each([
  ["ENOSPC", "Expected free disk space for the output, got"],
  ["EACCES", "Expected permission to read or write"],
  ["EROFS", "Expected a writable file system, got"],
  ["ELOOP", "Expected links that do not form a loop, got"],
  ["ENOTEMPTY", "Expected an empty folder, or none, got"],
  ["ENONE", "ENONE: as it came"],
])("%s of the machine", (code, told) => {
  const error = Object.assign(new Error(`${code}: as it came`), { code });
  expect(explained(error)).toContain(told);
});

test.each<[string, (path: string, other: Buffer) => void]>([
  ["written to", (path, other) => writeFileSync(path, other)],
  [
    "put in its place",
    (path, other) => {
      writeFileSync(`${path}.new`, other);
      renameSync(`${path}.new`, path);
    },
  ],
  ["cut", (path) => truncateSync(path, 10)],
])(
  "a file that is %s while it is read is no part of what comes of it",
  async (_, change) => {
    const path = at("changing");
    writeFileSync(path, Buffer.alloc(64, 1));
    const file = await localFile(path);
    expect(await file.read(0, 32)).toEqual(new Uint8Array(32).fill(1));
    // Within the same tick of a clock nothing tells of it.
    await new Promise((later) => setTimeout(later, 20));
    change(path, Buffer.alloc(64, 2));
    await expect(file.read(32, 64)).rejects.toMatchObject({
      code: "file_changed",
      message: `Expected ${path} not to change while it is read, but it was modified or replaced`,
    });
  },
);
