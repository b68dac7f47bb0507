/** A run's checkpoint as others load it: the directory has its weights byte for byte, and no optimizer's state. */
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
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CheckpointState } from "../../src/training/checkpoint.ts";
import { checkpointFolder } from "../../src/training/checkpoint-folder.ts";
import { completeConfig } from "../../src/training/config.ts";
import { runRequestSchema } from "../../src/training/run-request.ts";

const MAIN = resolve("src/cli/main.ts");
const CONFIG = completeConfig(
  runRequestSchema().parse({
    run: "any",
    dataset: "any",
    steps: 9,
    model: { layers: 1, width: 64, heads: 1, context: 64 },
  }),
  {
    name: "any",
    digest: "0".repeat(64),
    tokens: 5000,
    tokenizer: "byte",
    vocabulary: 256,
  },
);

/** As a run gives it: each value tells which one it is, and of what. */
async function checkpoint(state: CheckpointState): Promise<Buffer> {
  const { weights, bytes } = checkpointFolder(
    CONFIG,
    state,
    null,
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
])("%j is refused", (args, message) => {
  const { status, stderr } = exported(...args);
  expect(status).toBeGreaterThan(0);
  expect(stderr).toContain(message);
  expect(readdirSync(folder)).not.toContain("x");
});

test.each([
  [["--text", "empty.txt"], "Expected at least 65 tokens (context + 1)"],
  [["--text", "odd.txt"], "Expected --text to be UTF-8"],
  [["--out", "run.safetensors"], "Expected a folder, or none yet, got"],
])(
  "gradients of it say what is wrong with %j before they measure",
  (args, message) => {
    writeFileSync(join(folder, "empty.txt"), "");
    writeFileSync(join(folder, "odd.txt"), Buffer.alloc(9000, 0xff));
    const [option, name] = args as [string, string];
    const told = { "--out": "page", [option]: name };
    const { stdout, stderr, status } = spawnSync(
      process.execPath,
      [
        resolve("src/scripts/gradients.ts"),
        join(folder, "run.safetensors"),
        "--draws=1",
        ...Object.entries(told).map(([to, at]) => `${to}=${join(folder, at)}`),
      ],
      { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
    );
    expect(stderr).toContain(message);
    expect(stdout).not.toContain("block 0");
    expect(status).toBe(1);
  },
);
