/** A run's checkpoint as others load it: the directory has its weights byte for byte, and no optimizer's state. */
import { spawnSync } from "node:child_process";
import { hash } from "node:crypto";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TokenizerName } from "../../src/api/dataset.ts";
import { Bpe } from "../../src/tokenizers/bpe.ts";
import { writeTokenizerJson } from "../../src/tokenizers/tokenizer-json.ts";
import type { CheckpointState } from "../../src/training/checkpoint.ts";
import { checkpointFolder } from "../../src/training/checkpoint-folder.ts";
import { completeConfig } from "../../src/training/config.ts";
import { runRequestSchema } from "../../src/training/run-request.ts";

const MAIN = resolve("src/cli/main.ts");
/** No UTF-8: a run whose tokens are bytes takes any. */
const TEXT = Buffer.alloc(9000, "\xffabc", "latin1");
const configOf = (tokenizer: TokenizerName, vocabulary: number) =>
  completeConfig(
    runRequestSchema().parse({
      run: "any",
      dataset: "any",
      steps: 9,
      model: { layers: 1, width: 64, heads: 1, context: 64 },
    }),
    {
      name: "any",
      digest: hash("sha256", TEXT),
      tokens: 5000,
      tokenizer,
      vocabulary,
    },
  );
const CONFIG = configOf("byte", 256);

/** As a run gives it: each value tells which one it is, and of what. */
async function checkpoint(
  state: CheckpointState,
  config = CONFIG,
  tokenizer: string | null = null,
): Promise<Buffer> {
  const { weights, bytes } = checkpointFolder(
    config,
    state,
    tokenizer,
    async function* ({ start, length, moment }) {
      const values = Float32Array.from(
        { length },
        (_, i) => Math.sin(start + i) + (moment?.length ?? 0),
      );
      yield new Uint8Array(values.buffer);
    },
  );
  const chunks: Uint8Array[] = [];
  for await (const chunk of weights(0, bytes)) chunks.push(chunk.slice());
  return Buffer.concat(chunks);
}

let folder: string;
let parameters: Buffer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-export-"));
  parameters = await checkpoint({ step: 3 });
  writeFileSync(join(folder, "run.safetensors"), parameters);
  writeFileSync(
    join(folder, "full.safetensors"),
    await checkpoint({ step: 3, tokens: 1536 }),
  );
  mkdirSync(join(folder, "empty"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function exported(...args: string[]) {
  const { status, stderr } = spawnSync(
    process.execPath,
    [MAIN, "export", ...args],
    { cwd: folder, encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
  );
  return { status, stderr };
}

test.each(["run", "full"])("%s: a directory, and the same GGUF", (name) => {
  expect(exported(`${name}.safetensors`, "-o", name)).toMatchObject({
    status: 0,
  });
  expect(readdirSync(join(folder, name))).toEqual([
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
  ]);
  const weights = readFileSync(join(folder, name, "model.safetensors"));
  expect(weights.equals(parameters)).toBe(true);
  const made = ["-o", `${name}.gguf`, "--format", "gguf-mxfp4"];
  expect(exported(`${name}.safetensors`, ...made)).toMatchObject({ status: 0 });
  const [own, other] = [`${name}.gguf`, "run.gguf"].map((file) =>
    readFileSync(join(folder, file)),
  );
  expect(own!.subarray(0, 4).toString()).toBe("GGUF");
  expect(own!.equals(other!)).toBe(true);
});

test.each([
  [["run.safetensors", "-o", "run"], "Expected a new output, got run"],
  [["run.safetensors", "-o", "-"], "Expected a folder to write, got - for"],
  [["run.gguf", "-o", "x"], "Expected the checkpoint of a run, got a GGUF"],
  [["empty", "-o", "x"], "Expected a readable file, got empty"],
  [["none", "-o", "x"], "Expected a readable file, got none"],
  [["run.safetensors", "-o", "x", "--format", "onnx"], "onnx"],
  [["run.safetensors", "-o", "x.gguf"], "got x.gguf; --format gguf writes a"],
  [["run.safetensors", "-o", "x.tar"], "a name for a folder, which is what"],
])("%j is refused", (args, message) => {
  const { status, stderr } = exported(...args);
  expect(status).toBeGreaterThan(0);
  expect(stderr).toContain(message);
  expect(readdirSync(folder)).not.toContain("x");
});

describe("gradients of it", () => {
  beforeAll(async () => {
    writeFileSync(join(folder, "empty.txt"), "");
    writeFileSync(join(folder, "own.txt"), TEXT);
    writeFileSync(join(folder, "other.txt"), TEXT.subarray(1));
    mkdirSync(join(folder, "kept"));
    symlinkSync("/proc/self", join(folder, "kept/gradients"));
    const pairs = writeTokenizerJson(new Bpe([[97, 98]]));
    const bpe = await checkpoint({ step: 3 }, configOf("bpe", 257), pairs);
    writeFileSync(join(folder, "bpe.safetensors"), bpe);
  });

  const gradients = (run: string, told: Record<string, string>) =>
    spawnSync(
      process.execPath,
      [
        resolve("src/scripts/gradients.ts"),
        join(folder, run),
        "--draws=1",
        ...Object.entries({ "--out": "page", ...told }).map(
          ([to, at]) => `${to}=${join(folder, at)}`,
        ),
      ],
      { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
    );

  test.each([
    [
      "run.safetensors",
      { "--text": "empty.txt" },
      "Expected at least 65 tokens (context + 1)",
    ],
    ["bpe.safetensors", { "--text": "own.txt" }, "Expected --text to be UTF-8"],
    [
      "run.safetensors",
      { "--out": "run.safetensors" },
      "Expected a folder, or none yet, got",
    ],
    ["run.safetensors", { "--out": "kept" }, "Expected a writable folder, got"],
  ])(
    "of %s say what is wrong with %j before they measure",
    (run, told, message) => {
      const { stdout, stderr, status } = gradients(run, told);
      expect(stderr).toContain(message);
      expect(stdout).not.toContain("block 0");
      expect(status).toBe(1);
    },
  );

  test.each([
    ["own.txt", "its training text"],
    ["other.txt", "another text than it was trained on"],
  ])("are of bytes that are no UTF-8, and of %s say so", (text, told) => {
    const { stderr, status } = gradients("run.safetensors", { "--text": text });
    expect(status, stderr).toBe(0);
    const page = readFileSync(join(folder, "page/gradients.md"), "utf8");
    expect(page).toContain(
      `The model is a GPT of 1 layers of width 64 after 3 steps with muon (recipe \`mxfp4-rht-eden\`); the batch is 2 sequences of 64 tokens of ${told}.`,
    );
  });
});
