/**
 * `npm run cost`: what a gigabyte quantized and a million tokens trained would cost on a deployed edge, from the CPU
 * time and the calls that they take on this machine's.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { follow } from "../../src/cli/follow.ts";
import { mobyDick } from "../../src/cli/train/moby-dick.ts";
import { MODEL_PRESETS } from "../../src/cli/train/presets.ts";
import { fileBlob } from "../../src/cli/files.ts";
import {
  type Running,
  startEdge,
  startTrainerHost,
} from "../../src/local/edge.ts";
import { ensureBuilt } from "../../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../../src/scripts/build/targets.ts";
import { runScript } from "../../src/scripts/script.ts";
import { cpuSeconds } from "../cpu-time.ts";
import { edgePids } from "../edge-processes.ts";
import { OBJECT_GIGABYTES, PRICES, PRICES_OF } from "./prices.ts";

const MIB = 2 ** 20;
const BODY = { bytes: 64 * MIB, times: 8, rows: 4096 };
const STEPS = 60;

await runScript({
  meta: {
    name: "npm run cost --",
    description:
      "Compute the cost on a deployed edge of a gigabyte quantized and of a million tokens trained",
  },
  args: {},
  async run() {
    if (process.platform !== "linux")
      throw new Error(
        `Expected Linux, whose /proc tells CPU times, got ${process.platform}`,
      );
    await ensureBuilt(BUILD_TARGETS.worker);
    const folder = mkdtempSync(join(tmpdir(), "mxfp4-cost-"));
    const state = {
      edge: join(folder, "edge"),
      trainer: join(folder, "trainer"),
    };
    const edge = await startEdge({ stateFolder: state.edge, quiet: true });
    let host: Running | undefined;
    try {
      await quantizing(edge, state.edge);
      host = await startTrainerHost({
        apiUrl: edge.url,
        stateFolder: state.trainer,
      });
      await training(edge, host, state);
      console.log(
        `prices of ${PRICES_OF}, beyond what the plan includes; storage and rows are not counted`,
      );
    } finally {
      await host?.close();
      await edge.close();
      rmSync(folder, { recursive: true, force: true });
    }
  },
});

/** Each a request of the Worker, which computes in it. */
async function quantizing({ url }: Running, state: string): Promise<void> {
  const edge = new Mxfp4Edge({ baseUrl: url });
  const body = new Float32Array(BODY.bytes / 4);
  for (let i = 0; i < body.length; i++) body[i] = Math.sin(i);
  const shape = [BODY.rows, body.length / BODY.rows];
  const before = cpuSeconds(edgePids(state));
  for (let time = 0; time < BODY.times; time++) {
    const raw = { dtype: "f32", shape } as const;
    const answer = await edge.quantize(new Blob([body]), { raw });
    for await (const _ of answer.body!); // as it comes
  }
  const gigabytes = (BODY.times * BODY.bytes) / 1e9;
  const cpuMs = (1000 * (cpuSeconds(edgePids(state)) - before)) / gigabytes;
  const requests = BODY.times / gigabytes;
  const dollars = cpuMs * PRICES.cpuMs + requests * PRICES.request;
  console.log(
    `quantize, a GB of f32: ${cpuMs.toFixed(0)} ms of CPU, ${requests.toFixed(0)} requests of 64 MiB: $${dollars.toFixed(6)}`,
  );
}

/** The Worker's share is small: trainers call objects, and are some. What is billed is how long they lie in memory. */
async function training(
  { url }: Running,
  host: Running,
  state: { edge: string; trainer: string },
): Promise<void> {
  const edge = new Mxfp4Edge({ baseUrl: url });
  await edge.putDataset("text", await fileBlob(mobyDick()), {
    tokenizer: "byte",
  });
  const status = await edge.createRun({
    dataset: "text",
    model: MODEL_PRESETS.tiny,
    steps: STEPS,
    microbatches: 4,
    sequences: 2,
  });
  const run = edge.run(status.run);
  const callsBefore = await calls(edge);
  const cpuBefore = {
    edge: cpuSeconds(edgePids(state.edge)),
    trainer: cpuSeconds(edgePids(state.trainer)),
  };
  const began = Date.now();
  await new Mxfp4Edge({ baseUrl: host.url }).run(status.run).addTrainers(1);
  await follow(run, []);
  const seconds = (Date.now() - began) / 1000;
  const { config, shards } = await run.status();
  const tokens =
    STEPS * config.microbatches * config.sequences * config.model.context;
  const millions = tokens / 1e6;
  const a = (value: number) => value / millions;
  const trainer = a(cpuSeconds(edgePids(state.trainer)) - cpuBefore.trainer);
  const own = a(cpuSeconds(edgePids(state.edge)) - cpuBefore.edge);
  const objectCalls = a((await calls(edge)) - callsBefore);
  // A trainer that waits lies in memory too; so do the run and its shards.
  const objects = 2 + shards.length;
  const gigabyteSeconds = a(seconds) * objects * OBJECT_GIGABYTES;
  const dollars =
    objectCalls * PRICES.objectRequest +
    gigabyteSeconds * PRICES.objectGigabyteSecond;
  console.log(
    `train, a million tokens of ${status.parameters} parameters with one trainer: ${trainer.toFixed(0)} s of CPU of the trainer, ${own.toFixed(0)} s of the run and ${shards.length} shards, ${a(seconds).toFixed(0)} s in all; ${objectCalls.toFixed(0)} calls, ${gigabyteSeconds.toFixed(0)} GB-s of ${objects} objects: $${dollars.toFixed(4)}`,
  );
}

/** Requests that the edge has answered, each a call of an object. */
async function calls(edge: Mxfp4Edge): Promise<number> {
  const text = await edge.serviceMetrics();
  const counts = text.matchAll(/^mxfp4_edge_requests_total\{.*\} (\d+)$/gm);
  return Array.from(counts, ([, count]) => Number(count)).reduce(
    (sum, each) => sum + each,
    0,
  );
}
