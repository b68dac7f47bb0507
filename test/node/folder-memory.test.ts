/**
 * A model's folder that is large against an isolate, in four files, becomes the command's bytes by a job
 * whose process is killed twice, and the isolate holds less than its 128 MiB all the while, garbage
 * included. MEMORY_TEST_MIB sets the folder's size.
 */
import { createHash } from "node:crypto";
import {
  createReadStream,
  mkdirSync,
  mkdtempSync,
  openAsBlob,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { killEdge } from "../../bench/edge-processes.ts";
import { quantizeDirectory } from "../../src/cli/quantize-directory.ts";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { writeHead } from "../../src/formats/containers/safetensors-writer.ts";
import {
  type InspectedEdge,
  mostBytes,
  startInspectedEdge,
} from "../support/inspected-edge.ts";
import { FLOATS, MIB } from "../support/large-files.ts";

const ISOLATE_BYTES = 128 * MIB;
const FOLDER_MIB = Number(process.env.MEMORY_TEST_MIB ?? 160);
const FILES = 4;
/** Of f32 [rows, 4096]. */
const TENSORS = 16;
const ROWS = (FOLDER_MIB * MIB) / TENSORS / (4 * 4096);
const OPTIONS = {
  for: "vllm",
  rounding: "stochastic",
  scale: "rceil",
  seed: 5,
  // Four files again: packed, it is 7.5 times smaller.
  maxShardSize: Math.ceil((FOLDER_MIB * MIB) / 28),
} as const;

let folder: string;
let edge: InspectedEdge;
let client: Mxfp4Edge;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-folder-memory-"));
  writeModel(join(folder, "model"));
  await start();
});

afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function start(): Promise<void> {
  edge = await startInspectedEdge(join(folder, "state"));
  client = new Mxfp4Edge({ baseUrl: edge.url });
}

async function killAndStart(): Promise<void> {
  killEdge(join(folder, "state"));
  await edge.close();
  await start();
}

function writeModel(path: string): void {
  mkdirSync(path);
  const weight_map: Record<string, string> = {};
  for (let file = 0; file < FILES; file++) {
    const name = `model-0000${file + 1}-of-0000${FILES}.safetensors`;
    const heads = Array.from({ length: TENSORS / FILES }, (_, i) => ({
      name: `model.layers.${file * TENSORS + i}.mlp.up_proj.weight`,
      dtype: "F32" as const,
      shape: [ROWS, 4096],
    }));
    for (const head of heads) weight_map[head.name] = name;
    const { head, dataBytes } = writeHead(heads, new Map());
    const out = openSync(join(path, name), "w");
    writeSync(out, head);
    for (let at = 0; at < dataBytes; at += FLOATS.length)
      writeSync(out, FLOATS, 0, Math.min(FLOATS.length, dataBytes - at));
  }
  const index = { metadata: {}, weight_map };
  writeFileSync(
    join(path, "model.safetensors.index.json"),
    JSON.stringify(index),
  );
  writeFileSync(join(path, "config.json"), '{"model_type":"llama"}');
}

async function digest(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of chunks) hash.update(chunk);
  return hash.digest("hex");
}

test("a folder in four files, its job killed twice: the command's bytes, in one isolate", async () => {
  const [from, to] = [join(folder, "model"), join(folder, "result")];
  await quantizeDirectory({
    from,
    to,
    asJson: false,
    force: false,
    withFigures: false,
    options: OPTIONS,
  });
  const upload = await mostBytes(edge, "upload", async () => {
    for (const file of readdirSync(from))
      await client.putFile(`model/${file}`, await openAsBlob(join(from, file)));
  });
  const { job } = await client.createJob({
    operation: "quantize",
    source: "model",
    result: "result",
    options: OPTIONS,
  });
  const most = [upload];
  /** The job has read `share` of its source, or is over: its state then. */
  const reach = async (share: number) => {
    let seen = "";
    most.push(
      await mostBytes(edge, `job to ${share.toFixed(2)}`, async () => {
        for (;;) {
          const { state, inputBytes, totalInputBytes } = await client.job(job);
          seen = state;
          if (state !== "running") return;
          if (inputBytes >= share * totalInputBytes! && share < 1) return;
          await new Promise((wake) => setTimeout(wake, 5));
        }
      }),
    );
    return seen;
  };
  // Early, since the rest takes a fast machine some tenths of a second.
  for (const share of [1 / 8, 1 / 2]) {
    expect(await reach(share)).toBe("running");
    await killAndStart();
  }
  await reach(1);
  const { state, error, log } = await client.job(job);
  expect([state, error]).toEqual(["finished", null]);
  expect(log.filter(({ text }) => text.startsWith("resumed"))).not.toEqual([]);
  const files = readdirSync(to).toSorted();
  const { files: stored } = await client.files({ prefix: "result/" });
  expect(stored.map(({ name }) => name)).toEqual(
    files.map((file) => `result/${file}`),
  );
  for (const file of files) {
    const { body } = await client.file(`result/${file}`);
    const expected = await digest(createReadStream(join(to, file)));
    expect(await digest(body!), file).toBe(expected);
  }
  const tar = await mostBytes(edge, "tar", async () => {
    const { headers, body } = await client.folder("result");
    let bytes = 0;
    for await (const chunk of body!) bytes += chunk.length;
    expect(bytes).toBe(Number(headers.get("Content-Length")));
  });
  expect(Math.max(...most, tar)).toBeLessThan(ISOLATE_BYTES);
});
