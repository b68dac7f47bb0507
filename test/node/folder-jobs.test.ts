/**
 * A model's folder in, another out, by jobs: the very files that the command makes of the directory, and nothing is
 * left of one that fails, is cancelled or is over. What is killed on the way: folder-jobs-killed.test.ts.
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JobOperation, JobStatus } from "../../src/api/tensors.ts";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { analyzeCommand, command } from "../support/directory-commands.ts";
import { writeFloat8 } from "../support/float8-checkpoint.ts";
import { writeModel } from "../support/model-directories.ts";

const FP4 = { operation: "quantize" } as const;

let folder: string;
let edge: Running;
let client: Mxfp4Edge;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-folder-jobs-"));
  edge = await startEdge({ stateFolder: join(folder, "state"), quiet: true });
  client = new Mxfp4Edge({ baseUrl: edge.url });
  for (const [model, files] of [
    ["llama", 3],
    ["gpt2", 1],
    ["gpt_oss", 2],
  ] as const) {
    writeModel(join(folder, model), model, files);
    writeFileSync(join(folder, model, "empty.txt"), "");
    await upload(model);
  }
  for (const [model, name] of [
    ["llama", "golden"],
    ["gpt2", "golden-gpt2"],
    ["gpt_oss", "golden-oss"],
  ] as const) {
    const golden = join(import.meta.dirname, "../fixtures/hf", model);
    mkdirSync(join(folder, name));
    for (const file of ["config.json", "model.safetensors"])
      copyFileSync(join(golden, file), join(folder, name, file));
    await upload(name);
  }
  writeFloat8(join(folder, "golden"), join(folder, "fp8"), join(folder, "f32"));
  await upload("fp8");
});

afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function upload(name: string): Promise<void> {
  for (const file of filesOf(name))
    await client.putFile(
      `${name}/${file}`,
      new Uint8Array(readFileSync(join(folder, name, file))),
    );
}

function filesOf(name: string): string[] {
  const isFile = (file: string) => statSync(join(folder, name, file)).isFile();
  return readdirSync(join(folder, name)).filter(isFile).toSorted();
}

async function stored(prefix: string): Promise<string[]> {
  const { files } = await client.files({ prefix, limit: 1000 });
  return files.map(({ name }) => name);
}

async function job(
  source: string,
  result: string,
  request: JobOperation,
  onProgress?: (status: JobStatus) => void,
): Promise<JobStatus> {
  const begun = await client.createJob({ ...request, source, result });
  return client.finishedJob(begun.job, onProgress);
}

async function expectFolder(name: string): Promise<void> {
  if (statSync(join(folder, name)).isFile()) {
    const bytes = await (await client.file(name)).arrayBuffer();
    const expected = readFileSync(join(folder, name));
    expect(Buffer.compare(Buffer.from(bytes), expected), name).toBe(0);
    return;
  }
  const files = filesOf(name);
  expect(await stored(`${name}/`)).toEqual(
    files.map((file) => `${name}/${file}`),
  );
  for (const file of files) {
    const bytes = await (await client.file(`${name}/${file}`)).arrayBuffer();
    const expected = readFileSync(join(folder, name, file));
    expect(Buffer.compare(Buffer.from(bytes), expected), file).toBe(0);
  }
}

/** Each a folder that is there by then, made into another. */
test.each<[from: string, to: string, JobOperation]>([
  [
    "llama",
    "llama-vllm",
    { ...FP4, options: { for: "vllm", maxShardSize: 70_000 } },
  ],
  [
    "golden",
    "rotated",
    {
      ...FP4,
      options: {
        seed: 9,
        exclude: ["*.0.*"],
        rounding: "stochastic",
        for: "quark",
        rotate: "fold",
      },
    },
  ],
  [
    "gpt2",
    "gpt2-vllm",
    { ...FP4, options: { for: "vllm", rounding: "stochastic" } },
  ],
  // Rows of q and k stand in another order, and those of a gate and its up are taken apart.
  [
    "golden",
    "llama.gguf",
    { ...FP4, options: { for: "llama.cpp", rounding: "stochastic" } },
  ],
  [
    "golden-oss",
    "oss.gguf",
    {
      ...FP4,
      options: {
        for: "llama.cpp",
        scale: "mse",
        outputType: "keep",
        tensorType: ["*attn_k*=q8_0"],
      },
    },
  ],
  ["golden-oss", "oss.json", { operation: "analyze" }],
  [
    "golden-gpt2",
    "gpt2.json",
    { operation: "analyze", options: { for: "vllm", compare: ["scale=mse"] } },
  ],
  ["golden-gpt2", "gpt2.gguf", { ...FP4, options: { for: "llama.cpp" } }],
  [
    "gpt_oss",
    "oss",
    { ...FP4, options: { for: "transformers", maxShardSize: 90_000 } },
  ],
  [
    "llama-vllm",
    "llama-quark",
    { operation: "repack", options: { to: "quark", maxShardSize: 80_000 } },
  ],
  ["oss", "oss-ggml", { operation: "repack", options: { to: "ggml" } }],
  ["oss-ggml", "oss-f4", { operation: "repack", options: { to: "f4" } }],
  [
    "golden",
    "folded.json",
    {
      operation: "analyze",
      options: { for: "vllm", rotate: "fold", seed: 3 },
    },
  ],
  ["fp8", "fp8.gguf", { ...FP4, options: { for: "llama.cpp" } }],
  ["oss", "oss-bf16", { operation: "dequantize", options: { dtype: "bf16" } }],
  [
    "llama-vllm",
    "llama-f32",
    { operation: "dequantize", options: { maxShardSize: 99_000 } },
  ],
])(
  "%s to %s: the files of the command, to the byte",
  async (from, to, request) => {
    await command(join(folder, from), join(folder, to), request);
    const status = await job(from, to, request);
    expect(status).toMatchObject({
      error: null,
      state: "finished",
      isFolder: !/\.(gguf|json)$/.test(to),
    });
    expect(status.inputBytes).toBe(status.totalInputBytes);
    expect(status.outputBytes).toBe(status.totalOutputBytes);
    await expectFolder(to);
  },
);

test("a file alone and in a folder has the same noise, whatever else is packed", async () => {
  const scheme = { rounding: "stochastic", scale: "rceil", seed: 9 } as const;
  const options = { ...scheme, layout: "compressed-tensors" } as const;
  await job("golden/model.safetensors", "alone", { ...FP4, options });
  const [name] = ["model.layers.1.mlp.down_proj.weight"];
  const one = { ...options, include: [name!] };
  await job("golden/model.safetensors", "one", { ...FP4, options: one });
  await job("golden", "within", {
    ...FP4,
    options: { ...scheme, for: "vllm" },
  });
  const packed = async (file: string) => {
    const bytes = await (await client.file(file)).arrayBuffer();
    const { tensors } = readSafetensors(new Uint8Array(bytes));
    return tensors.find((tensor) => tensor.name === `${name}_packed`)!.bytes;
  };
  const within = await packed("within/model.safetensors");
  expect(within.length).toBeGreaterThan(1000);
  expect(await packed("alone")).toEqual(within);
  expect(await packed("one")).toEqual(within);
});

test("the command asks an edge for an analysis of a directory", () => {
  const golden = join(folder, "golden");
  const here = analyzeCommand(golden, "--json");
  const there = analyzeCommand(golden, "--json", "--url", edge.url);
  expect(there).toBe(here);
});

test("the tar of a result is what tar takes apart", async () => {
  const tar = new Uint8Array(
    await (await client.folder("llama-vllm")).arrayBuffer(),
  );
  const apart = join(folder, "apart");
  mkdirSync(apart);
  execFileSync("tar", ["-xf", "-", "-C", apart], { input: tar });
  expect(filesOf("apart/llama-vllm")).toEqual(filesOf("llama-vllm"));
  for (const file of filesOf("llama-vllm"))
    expect(
      Buffer.compare(
        readFileSync(join(apart, "llama-vllm", file)),
        readFileSync(join(folder, "llama-vllm", file)),
      ),
    ).toBe(0);
});

test("what is not taken along is told, by the job and by the command that has one do it", async () => {
  const odd = join(folder, "odd");
  writeModel(odd, "llama", 1);
  writeFileSync(join(odd, "consolidated.safetensors"), "");
  rmSync(join(odd, "config.json"));
  await upload("odd");
  const request = { ...FP4, options: { for: "vllm" } } as const;
  const leftOut = ["consolidated.safetensors", "pytorch_model.bin"];
  const told = await job("odd", "odd-vllm", request);
  expect(told.leftOut.toSorted()).toEqual(leftOut);
  expect(told.missing).toEqual(["config.json"]);
  const whole = await job("gpt2", "whole-vllm", request);
  expect(whole).toMatchObject({ leftOut: [leftOut[1]], missing: [] });
  const main = join(import.meta.dirname, "../../src/cli/main.ts");
  const to = join(folder, "odd-there");
  const args = ["quantize", odd, "-o", to, "--for", "vllm", "--json"];
  const there = spawnSync(
    process.execPath,
    [main, ...args, "--url", edge.url],
    { encoding: "utf8" },
  );
  expect(there.stderr).toContain("missing: config.json, which");
  expect(there.stderr).toContain("left out: ");
  const report = JSON.parse(there.stdout) as JobStatus;
  expect(report.leftOut.toSorted()).toEqual([
    leftOut[0],
    "original/",
    leftOut[1],
  ]);
});

test("a folder goes with its job; one that is told to stay stays", async () => {
  const request = { ...FP4, options: { for: "mlx" } } as const;
  const begin = (result: string, retentionMs: number) =>
    client.createJob({ ...request, source: "llama", result, retentionMs });
  const short = await begin("short", 1000);
  const long = await begin("long", 86_400_000);
  await client.finishedJob(long.job);
  await client.removeJob(long.job);
  expect(await stored("long/")).toContain("long/config.json");
  const gone = () => stored("short/");
  await expect.poll(gone).toEqual([]);
  await expect(client.job(short.job)).rejects.toMatchObject({
    code: "job_not_found",
  });
});

test("a job that is cancelled behind its first files leaves none of them", async () => {
  // Most of its work comes behind the weights.
  const large = new Blob([new Uint8Array(80 * 2 ** 20)]);
  await client.putFile("llama/zz.model", large);
  const { job: id } = await client.createJob({
    ...FP4,
    source: "llama",
    result: "cancelled",
    options: { for: "vllm", maxShardSize: 66_000 },
  });
  await expect
    .poll(() => stored("cancelled/"), { interval: 2 })
    .not.toEqual([]);
  await client.removeJob(id);
  await expect.poll(() => stored("cancelled/")).toEqual([]);
});

test.each<[string, object, string]>([
  ["llama", { ...FP4 }, "Expected `for` to be one of vllm, "],
  [
    "llama",
    { ...FP4, options: { for: "vllm", layout: "mlx" } },
    "Expected no `layout`",
  ],
  ["llama", { operation: "hadamard" }, "Expected a file to hadamard"],
  ["llama", { operation: "repack" }, "Expected `to` to be one of gpt-oss, "],
  [
    "llama/config.json",
    { operation: "repack", options: { to: "mlx", maxShardSize: 9 } },
    "Expected a folder for `maxShardSize`",
  ],
  [
    "llama/config.json",
    { operation: "analyze", options: { rotate: "fold" } },
    "Expected a folder for `rotate`",
  ],
  [
    "llama",
    { operation: "analyze", options: { for: "llama.cpp", rotate: "fold" } },
    "Expected no `rotate` for a folder for llama.cpp",
  ],
  [
    "llama/config.json",
    { ...FP4, options: { for: "vllm" } },
    "Expected a folder for `for`",
  ],
  [
    "llama",
    { ...FP4, options: { for: "vllm" }, result: "a/../b" },
    "Expected `result`",
  ],
  [
    "llama",
    { operation: "analyze", options: { for: "mlx", outputType: "keep" } },
    "Expected no `outputType` for a folder",
  ],
  [
    "llama",
    { ...FP4, options: { for: "llama.cpp", rotate: "fold" } },
    "Expected no `rotate` for a folder for llama.cpp",
  ],
  [
    "llama",
    { ...FP4, options: { for: "vllm", tensorType: ["*=f16"] } },
    "Expected no `tensorType` for a folder",
  ],
  ["nobody", { ...FP4, options: { for: "vllm" } }, "a file or a folder"],
  [
    "llama",
    { ...FP4, options: { for: "vllm" }, result: "gpt2" },
    "a name that no file or folder has",
  ],
])("%s as %j is refused before it begins", async (source, request, detail) => {
  const created = client.createJob({ ...(request as JobOperation), source });
  await expect(created).rejects.toThrow(detail);
});
