/**
 * Analyses of models by loader: the tensors that quantizing packs, with the very errors that it makes, and
 * what is recommended of what the loader takes.
 */
import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Rotation } from "../../src/api/options.ts";
import { LOADERS, TARGETS, type Target } from "../../src/api/scheme.ts";
import type {
  Analysis,
  AnalyzeFolderOptions,
  AnalyzeModelOptions,
} from "../../src/api/tensors.ts";
import { planFolderAnalysis } from "../../src/checkpoints/analyze-plan.ts";
import { fileAnalysis } from "../../src/checkpoints/file-analysis.ts";
import type { Checkpoint } from "../../src/checkpoints/checkpoint.ts";
import { type NormsOf, readNorms } from "../../src/checkpoints/fold.ts";
import { decideGgufDirectory } from "../../src/checkpoints/gguf/decide-gguf.ts";
import { planDirectory } from "../../src/checkpoints/quantize-plan.ts";
import {
  type RangedFile,
  readFolder,
} from "../../src/checkpoints/read-heads.ts";
import {
  readInOrder,
  type TensorRead,
} from "../../src/checkpoints/tensor-reads.ts";
import { localFile, localFolder } from "../../src/cli/ranged-files.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import {
  readSafetensors,
  writeSafetensors,
} from "../../src/formats/containers/safetensors.ts";
import { type Conversion, run } from "../../src/formats/stream/conversion.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import { writeModel } from "../support/model-directories.ts";

const GOLDEN = join(import.meta.dirname, "../fixtures/hf");
const MAIN = join(import.meta.dirname, "../../src/cli/main.ts");
const ALL = { include: [], exclude: [] };

let folder: string;
beforeAll(() => {
  loadKernelsFile();
  folder = mkdtempSync(join(tmpdir(), "mxfp4-analyze-directory-"));
  writeModel(join(folder, "mixtral"), "mixtral", 2);
  writeTied();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The golden Llama with the table of tokens for a head. */
function writeTied(): void {
  const from = join(GOLDEN, "llama");
  const config = readFileSync(join(from, "config.json"), "utf8");
  mkdirSync(join(folder, "tied"));
  writeFileSync(
    join(folder, "tied/config.json"),
    config.replace(
      /"tie_word_embeddings": false/,
      '"tie_word_embeddings": true',
    ),
  );
  const { tensors } = readSafetensors(
    new Uint8Array(readFileSync(join(from, "model.safetensors"))),
  );
  const own = tensors.filter(({ name }) => name !== "lm_head.weight");
  const { chunks } = writeSafetensors(
    own.map((tensor) => ({ ...tensor, chunks: [tensor.bytes] })),
    new Map(),
  );
  writeFileSync(
    join(folder, "tied/model.safetensors"),
    Buffer.concat([...chunks].map((chunk) => chunk.slice())),
  );
}

const pathOf = (model: string) =>
  ["mixtral", "tied"].includes(model)
    ? join(folder, model)
    : join(GOLDEN, model);

async function source(path: string, reads: readonly TensorRead[]) {
  const files = new Map<string, RangedFile>();
  for (const { file } of reads)
    files.set(file, await localFile(join(path, file)));
  // Windows that begin in the middle of tensors.
  return readInOrder(reads, files, () => {}, { windowBytes: 100_000 });
}

async function output(
  conversion: Conversion,
  path: string,
  reads: readonly TensorRead[],
): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of run(conversion, await source(path, reads)))
    chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString();
}

const normsOf = (plan: NormsOf, path: string) =>
  readNorms(plan, async ({ file, start, end }) =>
    (await localFile(join(path, file))).read(start, end),
  );

async function analyzed(
  model: string,
  options: AnalyzeFolderOptions,
): Promise<Analysis> {
  const path = pathOf(model);
  const checkpoint = await readFolder(localFolder(path));
  const plan = planFolderAnalysis(checkpoint, options);
  const { reads } = plan;
  const { conversion, report } = plan.open(await normsOf(plan, path));
  const text = await output(conversion, path, reads);
  expect(text).toBe(`${JSON.stringify(report(), null, 2)}\n`);
  return report();
}

/** What quantizing the directory with figures measures, by name. */
async function measured(
  checkpoint: Checkpoint,
  path: string,
  target: Target,
  rotate: Rotation,
) {
  const plan = planDirectory(checkpoint, {
    target,
    rotate,
    selection: { include: [], exclude: ["*layers.1.*"] },
    scheme: {
      ...DEFAULT_SCHEME,
      rounding: "stochastic",
      scale: "rceil",
      seed: 5,
    },
    maxShardBytes: 1e9,
    withFigures: true,
  });
  const norms = await normsOf(plan, path);
  for (const { conversion, reads } of plan.shards)
    await output(conversion(norms), path, reads);
  return Object.fromEntries(
    plan.tensors.flatMap(({ name }, i) =>
      plan.decisions[i]!.packed ? [[name, plan.figures!.of(name)]] : [],
    ),
  );
}

describe("the tensors that quantizing packs, with its errors, noise and all", () => {
  test.each([
    ...["llama", "gpt_oss", "mixtral"].flatMap((model) =>
      TARGETS.map((target) => [model, target, "none"] as const),
    ),
    ["llama", "vllm", "fold"] as const,
    ["tied", "quark", "fold"] as const,
    ["gpt2", "vllm", "fold"] as const,
  ])("%s for %s, rotation %s", async (model, target, rotate) => {
    const path = pathOf(model);
    const checkpoint = await readFolder(localFolder(path));
    const options = {
      for: target,
      exclude: ["*layers.1.*"],
      rounding: "stochastic",
      seed: 5,
      rotate,
      compare: ["scale=rceil", "scale=floor"],
    } as const;
    const expected = await measured(checkpoint, path, target, rotate).catch(
      (error: { code: string }) => error.code,
    );
    if (typeof expected === "string") {
      await expect(analyzed(model, options)).rejects.toMatchObject({
        code: expected,
      });
      return;
    }
    const { tensors, loaders } = await analyzed(model, options);
    expect(
      Object.fromEntries(
        tensors.map(({ name, schemes: [{ sqnrDb, maxError } = {}] }) => [
          name,
          { sqnrDb, maxError },
        ]),
      ),
    ).toEqual(expected);
    expect(loaders).toMatchObject([
      { loader: target, tensors: tensors.length, refusal: null },
    ]);
  });

  test("a Conv1D's blocks run along its rows, for every loader the same", async () => {
    const vllm = await analyzed("gpt2", { for: "vllm" });
    const gguf = await analyzed("gpt2", { for: "llama.cpp" });
    expect(vllm.tensors.length).toBeGreaterThan(4);
    expect(gguf.tensors.length).toBe(vllm.tensors.length);
    const all = ({ total }: Analysis) =>
      total.schemes.map(({ sqnrDb }) => sqnrDb!);
    all(gguf).forEach((dB, i) => expect(dB).toBeCloseTo(all(vllm)[i]!, 9));
    // Of rows as they are stored, blocks would be others.
    const file = fileAnalysis({ compare: ["scale=even"], include: ["*c_fc*"] });
    const along = vllm.tensors.find(({ name }) => name.includes("0.mlp.c_fc"))!;
    const across = (await ofFile("gpt2", file)).tensors[0]!;
    expect(across.schemes[0]!.sqnrDb).not.toBeCloseTo(
      along.schemes[3]!.sqnrDb!,
      4,
    );
  });

  test.each(["llama", "gpt_oss", "gpt2"])(
    "%s for llama.cpp, under its names",
    async (model) => {
      const checkpoint = await readFolder(localFolder(pathOf(model)));
      const { tensors } = decideGgufDirectory(checkpoint, {
        selection: ALL,
        output: "mxfp4",
        types: [],
      });
      const report = await analyzed(model, {
        for: "llama.cpp",
        outputType: "mxfp4",
      });
      expect(report.tensors.map(({ name }) => name)).toEqual(
        tensors
          .filter(({ becomes }) => becomes === "MXFP4")
          .map(({ name }) => name),
      );
      expect(report.tensors.map(({ name }) => name)).toContain(
        "token_embd.weight",
      );
    },
  );
});

async function ofFile(
  model: string,
  analysis: ReturnType<typeof fileAnalysis>,
): Promise<Analysis> {
  const bytes = new Uint8Array(
    readFileSync(join(pathOf(model), "model.safetensors")),
  );
  const from = sourceOf(bytes);
  const { conversion, report } = analysis(
    await readTensorFile(from, bytes.length),
  );
  for await (const _ of run(conversion, from));
  return report();
}

test.each<[string, Target]>([
  ["llama", "vllm"],
  ["gpt2", "vllm"],
  ["llama", "mlx"],
])(
  "a file alone of %s for %s has the figures of its directory",
  async (model, target) => {
    const options = { for: target, compare: ["ocp", "scale=mse"] };
    const { tensors, ...rest } = await ofFile(model, fileAnalysis(options));
    const directory = await analyzed(model, options);
    const byName = (all: Analysis["tensors"]) =>
      all.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    expect(byName(tensors)).toEqual(byName(directory.tensors));
    expect(rest.loaders).toEqual(directory.loaders);
  },
);

test("an analysis that is saved in the middle goes on to the same report", async () => {
  const path = pathOf("gpt2");
  const checkpoint = await readFolder(localFolder(path));
  const plan = planFolderAnalysis(checkpoint, {});
  const { reads } = plan;
  const open = () => plan.open(new Map());
  const whole = await output(open().conversion, path, reads);
  const from = await source(path, reads);
  let { conversion } = open();
  let report = "";
  for (let step = 0; conversion.wanted > 0; step++) {
    const piece = await from.take(conversion.wanted);
    for (const chunk of conversion.convert(piece))
      report += Buffer.from(chunk).toString();
    const saved = structuredClone(conversion.save());
    if (step % 7 !== 3) continue;
    conversion.release();
    ({ conversion } = open());
    conversion.resume(saved);
  }
  expect(report).toBe(whole);
});

describe("what is recommended", () => {
  test("of a directory, for each loader of what it takes", async () => {
    const { loaders, tensors } = await analyzed("gpt_oss", {});
    expect(loaders.map(({ loader }) => loader)).toEqual([...LOADERS]);
    const of = Object.fromEntries(
      loaders.map(({ loader, ...rest }) => [loader, rest]),
    );
    expect(of.transformers!.tensors).toBe(4);
    expect(of["llama.cpp"]!.tensors).toBe(tensors.length);
    const gpt2 = await analyzed("gpt2", {});
    expect(gpt2.loaders).toMatchObject([
      { loader: "vllm", tensors: 8, refusal: null },
      { loader: "transformers", tensors: 0, recommended: null },
      { loader: "mlx", tensors: 0, refusal: "it takes none of them" },
      { loader: "quark", tensors: 0 },
      { loader: "llama.cpp", tensors: 8 },
    ]);
  });

  test("with a rotation, of which llama.cpp takes none", async () => {
    const { loaders } = await analyzed("llama", { rotate: "fold" });
    expect(loaders.at(-1)).toMatchObject({
      loader: "llama.cpp",
      refusal: expect.stringContaining("Expected no `rotate` for llama.cpp"),
    });
    expect(loaders[0]!.recommended).not.toBeNull();
  });

  test("never what the loader does not undo", async () => {
    const compare = ["paper", "format=mxfp8-e4m3", "hadamard=32", "ocp"];
    const { refused, loaders, total } = await analyzed("llama", {
      for: "vllm",
      compare,
    });
    expect(total.schemes.map(({ scheme }) => scheme)).toEqual(["ocp"]);
    expect(loaders[0]!.recommended).toBe("ocp");
    expect(refused.map(({ scheme }) => scheme)).toEqual(compare.slice(0, 3));
  });

  test("each scale rule unless schemes are told, and what is told alone", async () => {
    const names = async (options: AnalyzeModelOptions) =>
      (
        await analyzed("llama", {
          include: ["*q_proj*"],
          for: "mlx",
          ...options,
        })
      ).total.schemes.map(({ scheme }) => scheme);
    const rules = ["floor", "rceil", "ceil", "even"].map((r) => `scale=${r}`);
    expect(await names({})).toEqual([...rules, "scale=mse"]);
    expect(await names({ rounding: "stochastic" })).toEqual(rules);
    expect(await names({ scale: "ceil" })).toEqual(["query"]);
  });
});

describe("refusals", () => {
  test.each<[string, AnalyzeModelOptions, string]>([
    ["gpt2", { for: "mlx" }, "Expected tensors to analyze, got none but"],
    ["llama", { for: "transformers" }, "experts of gpt-oss alone"],
    ["llama", { for: "vllm", include: ["*.q_prj.*"] }, "closest names are"],
    ["llama", { for: "quark", exclude: ["x"] }, "which matches none"],
    ["llama", { for: "vllm", include: ["*q_proj*"] }, "packed together"],
    ["llama", { compare: ["paper"] }, "Expected a scheme that a loader undoes"],
    ["llama", { for: "llama.cpp", include: ["*norm*"] }, "got none but"],
  ])("%s %j", async (model, options, told) => {
    await expect(analyzed(model, options)).rejects.toThrow(told);
  });

  test.each<[string, AnalyzeModelOptions, string]>([
    ["llama", { for: "llama.cpp" }, "Expected a GGUF or a model's directory"],
    ["gpt2", { for: "quark" }, "Expected tensors to analyze, got none but"],
  ])("the file of %s %j", async (model, options, told) => {
    const made = async () => ofFile(model, fileAnalysis(options));
    await expect(made()).rejects.toThrow(told);
  });

  test.each<[string, string[], string]>([
    ["llama", ["--for", "vllm", "--output-type", "keep"], "no `outputType`"],
    ["llama", ["--dtype", "f32", "--shape", "4"], "Expected no `raw`"],
    ["nowhere", [], "nowhere"],
  ])("the command: %s %j", (name, args, told) => {
    const call = [MAIN, "analyze", join(GOLDEN, name), ...args];
    const { status, stderr, stdout } = spawnSync(process.execPath, call, {
      encoding: "utf8",
    });
    expect(status).toBeGreaterThan(0);
    expect(stderr).toContain(told);
    expect(stderr).not.toContain("    at ");
    expect(stdout).toBe("");
  });
});
