/**
 * Jobs over models' folders whose process is killed in the middle end in the command's very bytes. The folders lie
 * behind a server that kills the edge when it is asked for certain bytes, so each kill comes where it is meant to.
 */
import {
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
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { killEdge } from "../../bench/edge-processes.ts";
import type { JobOperation } from "../../src/api/tensors.ts";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import {
  readSafetensors,
  writeSafetensors,
} from "../../src/formats/containers/safetensors.ts";
import type { Tensor } from "../../src/formats/tensor.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { command } from "../support/directory-commands.ts";
import { writeModel } from "../support/model-directories.ts";
import {
  type RangeServer,
  startRangeServer,
  type Trouble,
} from "../support/range-server.ts";

const MIB = 2 ** 20;

let folder: string;
let edge: Running;
let client: Mxfp4Edge;
let server: RangeServer;
/** Where the edge is killed yet, when it asks for bytes of the file from there on. */
let due: { file: string; from: number }[] = [];

const killed: Trouble = ({ url, headers }, response) => {
  const [next] = due;
  const start = Number(/^bytes=(\d+)-/.exec(headers.range ?? "")?.[1] ?? 0);
  if (!next || !url!.endsWith(next.file) || start < next.from) return false;
  due = due.slice(1);
  killEdge(join(folder, "state"));
  response.destroy();
  return true;
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-folder-jobs-killed-"));
  vi.spyOn(console, "error").mockImplementation(() => {});
  server = await startRangeServer(folder, { killed });
  edge = await startEdge({
    stateFolder: join(folder, "state"),
    quiet: true,
    sourceHosts: "127.0.0.1",
  });
  client = new Mxfp4Edge({ baseUrl: edge.url });
});
afterAll(async () => {
  vi.restoreAllMocks();
  await edge?.close();
  await server?.close();
  rmSync(folder, { recursive: true, force: true });
});

function write(model: string, tensors: readonly Tensor[], config: object) {
  mkdirSync(join(folder, model));
  const { chunks } = writeSafetensors(
    tensors.map((tensor) => ({ ...tensor, chunks: [tensor.bytes] })),
    new Map(),
  );
  const bytes = Buffer.concat([...chunks].map((chunk) => chunk.slice()));
  writeFileSync(join(folder, model, "model.safetensors"), bytes);
  writeFileSync(join(folder, model, "config.json"), JSON.stringify(config));
}

/** Tables of tokens that take several steps. */
function writeWide(): void {
  const golden = join(import.meta.dirname, "../fixtures/hf/llama");
  const config = JSON.parse(
    readFileSync(join(golden, "config.json"), "utf8"),
  ) as { hidden_size: number };
  const rows = 300_000;
  const { tensors } = readSafetensors(
    new Uint8Array(readFileSync(join(golden, "model.safetensors"))),
  );
  const wide = tensors.map((tensor): Tensor => {
    if (!/embed_tokens|lm_head/.test(tensor.name)) return tensor;
    const bytes = new Uint8Array(2 * rows * config.hidden_size).fill(0x3d);
    const shape = [rows, config.hidden_size];
    return { ...tensor, dtype: "BF16", shape, bytes };
  });
  write("wide", wide, { ...config, vocab_size: rows });
}

const layers = (count: number, of: (layer: string) => Tensor[]) =>
  Array.from({ length: count }, (_, i) =>
    of(`model.layers.${i}.mlp.down_proj.weight`),
  ).flat();

const WRITERS: Record<string, () => void> = {
  llama() {
    writeModel(join(folder, "llama"), "llama", 3);
    writeFileSync(
      join(folder, "llama/tokenizer.model"),
      new Uint8Array(80 * MIB).fill(1),
    );
  },
  wide: writeWide,
  deep() {
    const bytes = new Uint8Array(2 * 4096 * 4096).map((_, i) =>
      i % 2 === 0 ? (i * 31) >> 3 : 0x3c + (i % 3),
    );
    const own = layers(2, (name) => [
      { name, dtype: "BF16", shape: [4096, 4096], bytes },
    ]);
    write("deep", own, { model_type: "llama" });
  },
  packed() {
    const codes = new Uint8Array(16 * MIB).map((_, i) => (i * 37) >> 4);
    const scales = new Uint8Array(MIB).map((_, i) => 100 + (i % 30));
    const own = layers(4, (name) => [
      {
        name: `${name}_packed`,
        dtype: "U8",
        shape: [8192, 2048],
        bytes: codes,
      },
      { name: `${name}_scale`, dtype: "U8", shape: [8192, 128], bytes: scales },
    ]);
    write("packed", own, { model_type: "llama" });
  },
};

const WEIGHTS = "model.safetensors";

/** Each killed so often, of which the last comes behind bytes that were written down. */
test.each<[string, string, JobOperation, typeof due]>([
  [
    "llama",
    "llama-vllm",
    {
      operation: "quantize",
      options: { for: "vllm", rounding: "stochastic", maxShardSize: 66_000 },
    },
    [
      { file: "model-00002-of-00003.safetensors", from: 8 },
      { file: "tokenizer.model", from: 0 },
      { file: "tokenizer.model", from: 30 * MIB },
      { file: "tokenizer.model", from: 60 * MIB },
    ],
  ],
  [
    "wide",
    "wide.gguf",
    {
      operation: "quantize",
      options: { for: "llama.cpp", rounding: "stochastic" },
    },
    [
      { file: WEIGHTS, from: 8 * MIB },
      { file: WEIGHTS, from: 36 * MIB },
      { file: WEIGHTS, from: 64 * MIB },
    ],
  ],
  [
    "deep",
    "deep.json",
    { operation: "analyze", options: { for: "vllm", compare: ["ocp"] } },
    [
      { file: WEIGHTS, from: 12 * MIB },
      { file: WEIGHTS, from: 48 * MIB },
    ],
  ],
  [
    "packed",
    "packed-ggml",
    { operation: "repack", options: { to: "ggml" } },
    [
      { file: WEIGHTS, from: 12 * MIB },
      { file: WEIGHTS, from: 30 * MIB },
      { file: WEIGHTS, from: 56 * MIB },
    ],
  ],
  [
    "packed-ggml",
    "packed-mlx",
    { operation: "repack", options: { to: "mlx" } },
    [
      { file: WEIGHTS, from: 30 * MIB },
      { file: WEIGHTS, from: 56 * MIB },
    ],
  ],
])("%s to %s", async (from, to, request, kills) => {
  WRITERS[from]?.();
  await command(join(folder, from), join(folder, to), request);
  due = kills;
  const { job } = await client.createJob({
    ...request,
    source: { url: `${server.url}/killed/${from}/` },
    result: to,
  });
  const status = await client.finishedJob(job);
  expect(status).toMatchObject({ error: null, state: "finished" });
  expect(due).toEqual([]);
  const texts = status.log.map(({ text }) => text).join("\n");
  expect(texts).toMatch(/resumed at byte [1-9]/);
  await expectSame(to);
});

async function expectSame(name: string): Promise<void> {
  const path = join(folder, name);
  const files = statSync(path).isFile()
    ? [name]
    : readdirSync(path).map((file) => `${name}/${file}`);
  expect(files.length).toBeGreaterThan(0);
  for (const file of files) {
    const bytes = await (await client.file(file)).arrayBuffer();
    const expected = readFileSync(join(folder, file));
    expect(Buffer.compare(Buffer.from(bytes), expected), file).toBe(0);
  }
}
