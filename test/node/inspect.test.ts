/** `mxfp4-edge inspect`: a directory, a file, and both by http, from headers alone. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { spawn } from "node:child_process";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { readFolder } from "../../src/checkpoints/read-heads.ts";
import { localFolder } from "../../src/cli/ranged-files.ts";
import { convertDirectory } from "../../src/cli/convert-directory.ts";
import { quantizeDirectory } from "../../src/cli/quantize-directory.ts";
import type { Inspection } from "../../src/checkpoints/inspect.ts";
import {
  encodePair,
  writeGgufHead,
} from "../../src/formats/containers/gguf-writer.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const { models } = JSON.parse(
  gunzipSync(
    readFileSync(
      join(import.meta.dirname, "../fixtures/architectures.json.gz"),
    ),
  ).toString(),
) as {
  models: Record<string, { tensors: { name: string; shape: number[] }[] }>;
};

let folder: string;
let model: string;

/** A file of zeros with these tensors. */
function fileOf(tensors: { name: string; shape: number[] }[]): Uint8Array {
  let at = 0;
  const header = Object.fromEntries(
    tensors.map(({ name, shape }) => {
      const start = at;
      at += 2 * shape.reduce((a, b) => a * b, 1);
      return [name, { dtype: "BF16", shape, data_offsets: [start, at] }];
    }),
  );
  const json = new TextEncoder().encode(JSON.stringify(header));
  const file = new Uint8Array(8 + json.length + at);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return file;
}

/** The command; the edge and the machine are not asked. */
/** What Node 20 lacks, which runs this command too. */
const AS_NODE_20 =
  "data:text/javascript,delete Map.groupBy; delete Object.groupBy; delete Promise.withResolvers";

function run(
  ...args: string[]
): Promise<{ code: number; out: string; err: string }> {
  return new Promise((done) => {
    const child = spawn(
      process.execPath,
      [
        "--import",
        AS_NODE_20,
        join(ROOT, "src/cli/main.ts"),
        "inspect",
        ...args,
      ],
      { env: { ...process.env, HF_TOKEN: "", NO_COLOR: "1" } },
    );
    let [out, err] = ["", ""];
    child.stdout.on("data", (chunk) => (out += String(chunk)));
    child.stderr.on("data", (chunk) => (err += String(chunk)));
    child.on("close", (code) => done({ code: code ?? -1, out, err }));
  });
}

async function inspection(...args: string[]): Promise<Inspection> {
  const { code, out, err } = await run(...args, "--json");
  expect(err).toBe("");
  expect(code).toBe(0);
  return JSON.parse(out) as Inspection;
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-inspect-test-"));
  model = join(folder, "model");
  mkdirSync(model);
  const { tensors } = models.mixtral!;
  const halves = [tensors.slice(0, 20), tensors.slice(20)];
  const weight_map: Record<string, string> = {};
  halves.forEach((half, i) => {
    const file = `model-0000${i + 1}-of-00002.safetensors`;
    writeFileSync(join(model, file), fileOf(half));
    for (const { name } of half) weight_map[name] = file;
  });
  writeFileSync(
    join(model, "model.safetensors.index.json"),
    JSON.stringify({ metadata: {}, weight_map }),
  );
  writeFileSync(
    join(model, "config.json"),
    JSON.stringify({ model_type: "mixtral", hidden_size: 64, vocab_size: 256 }),
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("a directory", () => {
  test("its tensors by name, of both files", async () => {
    const got = await inspection(model);
    expect(got.modelType).toBe("mixtral");
    const names = models.mixtral!.tensors.map(({ name }) => name);
    expect(got.tensors.map(({ name }) => name)).toEqual(names.toSorted());
    expect(new Set(got.tensors.map(({ file }) => file)).size).toBe(2);
    expect(got.loaders.map(({ packedTensors }) => packedTensors)).toEqual([
      // 24 matrices of experts, which MLX stacks with their scales, 8 of attention.
      32,
      0, 32, 32, 0,
    ]);
  });

  test("as a table, layers of a kind in one line", async () => {
    const { out, code } = await run(model);
    expect(code).toBe(0);
    expect(out).toMatch(
      /model\.layers\.\*\.block_sparse_moe\.experts\.\*\.w1\.weight × 8 +BF16 +128 × 64 +linear/,
    );
    expect(out).toContain("a router, which chooses experts");
    expect(out).toMatch(/^mlx: 32 packed/m);
  });

  test.each([
    ["an empty one", () => [join(folder, "empty")], "got none"],
    ["no path", () => [join(folder, "nothing")], "Expected a readable file"],
    [
      "something else",
      () => [join(ROOT, "package.json")],
      "got JSON, as model.safetensors.index.json is",
    ],
  ])("%s is refused in a line", async (_, path, message) => {
    mkdirSync(join(folder, "empty"), { recursive: true });
    const { code, out, err } = await run(...path());
    expect(err).toContain(message);
    expect(err).not.toMatch(/\n +at /);
    expect([code, out]).toEqual([1, ""]);
  });
});

describe("a file", () => {
  test("of safetensors, without a config", async () => {
    const path = join(model, "model-00001-of-00002.safetensors");
    const got = await inspection(path);
    expect(got.modelType).toBeNull();
    expect(got.tensors).toHaveLength(20);
  });

  test("of NumPy: its one tensor", async () => {
    const path = join(folder, "x.npy");
    const head =
      "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 64), }".padEnd(
        117,
      ) + "\n";
    const bytes = Buffer.concat([
      Buffer.from([0x93, ...Buffer.from("NUMPY"), 1, 0, head.length, 0]),
      Buffer.from(head),
      Buffer.alloc(3 * 64 * 2),
    ]);
    writeFileSync(path, bytes);
    const { tensors } = await inspection(path);
    expect(tensors).toMatchObject([
      { name: "x", dtype: "F16", shape: [3, 64], bytes: 384 },
    ]);
    writeFileSync(path, bytes.subarray(0, -1));
    const { code, err } = await run(path);
    expect(err).toContain(
      "Expected .npy with 384 bytes for F16 [3, 64], got 383",
    );
    expect(code).toBe(1);
  });

  test("of another kind is refused by what it is", async () => {
    const path = join(folder, "pytorch_model.bin");
    writeFileSync(path, "PK\x03\x04 and more");
    const { code, err } = await run(path);
    expect(err).toContain("got a zip archive, as .npz and PyTorch's");
    expect(err).toContain("in pytorch_model.bin");
    expect(code).toBe(1);
  });

  test("a GGUF, by llama.cpp's rules", async () => {
    const tensors = [
      { name: "token_embd.weight", dimensions: [64, 8], type: 0 },
      { name: "blk.0.attn_norm.weight", dimensions: [64], type: 0 },
      { name: "blk.0.ffn_up_exps.weight", dimensions: [64, 4, 2], type: 0 },
      { name: "blk.0.ffn_down.weight", dimensions: [32, 2], type: 8 },
      { name: "blk.1.ffn_down.weight", dimensions: [64, 2], type: 28 },
    ];
    const { head, dataBytes } = writeGgufHead(
      new Map([
        [
          "general.architecture",
          encodePair("general.architecture", { string: "llama" }),
        ],
      ]),
      tensors,
    );
    const path = join(folder, "model.gguf");
    const file = new Uint8Array(head.length + dataBytes);
    file.set(head);
    writeFileSync(path, file);
    const got = await inspection(path);
    expect(got.modelType).toBe("llama");
    expect(
      got.tensors.map(({ dtype, kind, packed, mxfp4Bytes }) => [
        dtype,
        kind,
        packed,
        mxfp4Bytes,
      ]),
    ).toEqual([
      ["F32", "head", false, 16 * 34],
      ["F32", "other", false, 256],
      ["F32", "experts", true, 16 * 17],
      ["Q8_0", "linear", false, 68],
      ["F64", "linear", false, 1024],
    ]);
    expect(got.tensors[4]!.reason).toMatch(/; F64 is not packed$/);
    expect(got.formats).toEqual([
      { format: "Q8_0, ggml", weights: 1, example: "blk.0.ffn_down.weight" },
    ]);
    expect(got.loaders.at(-1)).toMatchObject({
      loader: "llama.cpp",
      loads: true,
      packedTensors: 1,
    });
  });
});

describe("by http", () => {
  let served = 0;
  let tokens: (string | undefined)[] = [];
  /** Whether ranges are answered. */
  let ranges = true;
  const server = createServer((request, response) => {
    tokens.push(request.headers.authorization);
    const name = new URL(request.url!, "http://x").pathname.slice(1);
    let bytes: Buffer;
    try {
      bytes = readFileSync(join(model, name));
    } catch {
      response.writeHead(404).end();
      return;
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    if (!range || !ranges) {
      served += bytes.length;
      response.end(bytes);
      return;
    }
    const [start, last] = [Number(range[1]), Number(range[2])];
    const part = bytes.subarray(start, last + 1);
    served += part.length;
    response.writeHead(206, {
      "Content-Range": `bytes ${start}-${last}/${bytes.length}`,
    });
    response.end(part);
  });
  let url: string;

  beforeAll(async () => {
    await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  });
  afterAll(() => new Promise((done) => server.close(done)));

  test("a directory, by ranges, as it is here", async () => {
    [served, tokens] = [0, []];
    const there = await inspection(url, "--token", "secret");
    expect(there).toEqual(await inspection(model));
    expect(new Set(tokens)).toEqual(new Set(["Bearer secret"]));
    // Of 600 KB, headers, config and index.
    expect(served).toBeLessThan(20_000);
    expect(there.bytes).toBeGreaterThan(100_000);
  });

  test("a file", async () => {
    const got = await inspection(`${url}model-00002-of-00002.safetensors`);
    expect(got.tensors).toHaveLength(models.mixtral!.tensors.length - 20);
  });

  test("a server without ranges, and a file that is not there, are told", async () => {
    ranges = false;
    const whole = await run(`${url}model-00002-of-00002.safetensors`);
    ranges = true;
    expect(whole.err).toContain("with status 206, got 200");
    const missing = await run(`${url}other.safetensors`);
    expect(missing.err).toContain("with status 206, got 404");
    expect([whole.code, missing.code]).toEqual([1, 1]);
  });
});

describe("what was made for a loader", () => {
  const golden = (model: string) =>
    join(import.meta.dirname, "../fixtures/hf", model);
  beforeAll(async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    for (const [model, loader] of MADE)
      await quantizeDirectory({
        from: golden(model),
        to: join(folder, `${model}-${loader}`),
        asJson: false,
        force: false,
        withFigures: false,
        options: { for: loader },
      });
    vi.restoreAllMocks();
    mkdirSync(join(folder, "one-gguf"));
    const gguf = readFileSync(join(folder, "llama-llama.cpp"));
    writeFileSync(join(folder, "one-gguf/model.gguf"), gguf);
  });
  const MADE = [
    ["llama", "vllm", ["vllm", "llama.cpp"]],
    ["llama", "mlx", ["mlx", "llama.cpp"]],
    ["llama", "quark", ["quark", "llama.cpp"]],
    ["llama", "llama.cpp", ["llama.cpp"]],
    ["gpt_oss", "transformers", ["vllm", "transformers", "mlx", "llama.cpp"]],
    ["gpt2", "vllm", ["vllm", "llama.cpp"]],
  ] as const;

  const inspected = async (path: string): Promise<Inspection> =>
    JSON.parse((await run(join(folder, path), "--json")).out) as Inspection;
  const able = ({ loaders }: Inspection) =>
    loaders.filter(({ loads }) => loads).map(({ loader }) => loader);

  test.each(MADE)("%s for %s is loaded by it", async (model, loader, takes) => {
    const inspection = await inspected(`${model}-${loader}`);
    expect(able(inspection)).toEqual(takes);
    const own = inspection.loaders.find((each) => each.loader === loader)!;
    const packed = inspection.formats.find(({ format }) =>
      /MXFP4/.test(format),
    )!;
    expect(own.packedTensors).toBe(packed.weights);
    expect(own.refusals).toEqual([]);
    for (const { loads, refusals } of inspection.loaders)
      expect(refusals.length > 0).toBe(!loads);
  });

  test.each(["quark", "mlx"] as const)(
    "a Conv1D's blocks in layout %s, which that loader would turn",
    async (to) => {
      const from = join(folder, "gpt2-vllm");
      const made = join(folder, `gpt2-in-${to}`);
      const told = vi.spyOn(console, "error").mockImplementation(() => {});
      await convertDirectory({
        from,
        to: made,
        force: false,
        checkpoint: await readFolder(localFolder(from)),
        request: { operation: "repack", options: { to } },
      });
      expect(told.mock.calls.join("")).toContain("which no loader loads");
      vi.restoreAllMocks();
      const { loaders } = await inspected(`gpt2-in-${to}`);
      const own = loaders.find(({ loader }) => loader === to)!;
      expect(own.refusals).toEqual([
        `${to}'s loader turns the weights of a Conv1D itself`,
      ]);
    },
  );

  test("a directory with one GGUF", async () => {
    expect(able(await inspected("one-gguf"))).toEqual(["llama.cpp"]);
  });

  test("without its config it is loaded by nobody who asks for one", async () => {
    const name = "llama-vllm/model.safetensors";
    const { loaders } = await inspected(name);
    expect(loaders[0]).toMatchObject({ loads: false, packedTensors: 0 });
    expect(loaders[0]!.refusals).toEqual([
      expect.stringContaining("config.json says nothing"),
    ]);
  });

  test("scales of FP8 are none of the weights", async () => {
    mkdirSync(join(folder, "fp8"));
    const up = "model.layers.0.mlp.up_proj.weight";
    const header = {
      [up]: { dtype: "F8_E4M3", shape: [128, 256], data_offsets: [0, 32768] },
      [`${up}_scale_inv`]: {
        dtype: "F32",
        shape: [128, 256 / 8],
        data_offsets: [32768, 49152],
      },
    };
    const json = Buffer.from(JSON.stringify(header).padEnd(400));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    const file = Buffer.concat([length, json, Buffer.alloc(49152)]);
    writeFileSync(join(folder, "fp8/model.safetensors"), file);
    const { tensors, loaders, mxfp4Bytes } = await inspected("fp8");
    expect(tensors.map(({ packed }) => packed)).toEqual([true, false]);
    expect(tensors[1]!.reason).toContain("a scale of FP8");
    expect(mxfp4Bytes).toBe((128 * 256 * 17) / 32);
    expect(loaders[0]).toMatchObject({
      loads: true,
      packedTensors: 1,
      bytes: mxfp4Bytes,
    });
  });
});
