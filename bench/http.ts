/**
 * Requests to the Worker over HTTP, one after the other, from this process: what a client sees.
 *
 *   http/passthrough, http/quantize   300 MB of f32 in, read to the end: the same Worker with and without work
 * The former sends back all 300 MB, the latter an eighth, so the ratio may pass 1.
 *
 *   http/healthz, http/quantize-4k    the median time of a request, until its answer is read
 */
import { Agent, request } from "node:http";
import type { Benchmark, Group } from "./benchmark.ts";
import { normals } from "./data.ts";
import { median } from "./median.ts";

/** 300 MB in whole rows. */
const LARGE_BYTES = 73_243 * 4096;
const SMALL_BYTES = 4096;
/** Written again and again, so that the client holds little. */
const CHUNK_BYTES = 1_000_000;

export type HttpBenchmark = Benchmark & { path: string; bytes: number };

export const HTTP_GROUPS: readonly Group<HttpBenchmark>[] = [
  {
    name: "http throughput",
    benchmarks: [
      throughput("http/passthrough", "/passthrough", []),
      throughput("http/quantize", `/v1/quantize?${raw(LARGE_BYTES)}`, [
        "http/passthrough",
      ]),
    ],
  },
  {
    name: "http latency",
    benchmarks: [
      latency("http/healthz", "/healthz", 0, []),
      latency(
        "http/quantize-4k",
        `/v1/quantize?${raw(SMALL_BYTES)}`,
        SMALL_BYTES,
        ["http/healthz"],
      ),
    ],
  },
];

/** Seconds of `iterations` requests; of short ones the median time, taken so many times. */
export async function timeRequests(
  origin: string,
  { path, bytes, unit }: HttpBenchmark,
  iterations: number,
): Promise<number> {
  const agent = new Agent({ keepAlive: true });
  const seconds: number[] = [];
  for (let left = iterations; left > 0; left--) {
    seconds.push(await timeRequest(agent, origin + path, bytes));
  }
  agent.destroy();
  if (unit === "ms") return median(seconds) * iterations;
  return seconds.reduce((sum, each) => sum + each, 0);
}

function timeRequest(
  agent: Agent,
  url: string,
  bytes: number,
): Promise<number> {
  const chunk = new Uint8Array(
    normals(1, CHUNK_BYTES / 4).buffer,
    0,
    CHUNK_BYTES,
  );
  const start = performance.now();
  return new Promise((resolve, reject) => {
    const call = request(
      url,
      {
        agent,
        method: bytes > 0 ? "POST" : "GET",
        headers: bytes > 0 ? { "Content-Length": bytes } : {},
      },
      (response) => {
        if (response.statusCode !== 200)
          reject(new Error(`${url} answered ${response.statusCode}`));
        response.on("end", () => resolve((performance.now() - start) / 1000));
        response.on("error", reject).resume();
      },
    );
    call.on("error", reject);
    let left = bytes;
    const write = (): void => {
      while (left > 0) {
        const part = chunk.subarray(0, Math.min(left, CHUNK_BYTES));
        left -= part.length;
        if (!call.write(part)) break;
      }
      if (left === 0) call.end();
      else call.once("drain", write);
    };
    write();
  });
}

function raw(bytes: number): string {
  return `dtype=f32&shape=${bytes / 4096},1024`;
}

function throughput(
  name: string,
  path: string,
  baselines: string[],
): HttpBenchmark {
  const work = LARGE_BYTES;
  return { name, unit: "GB/s", work, baselines, path, bytes: work };
}

function latency(
  name: string,
  path: string,
  bytes: number,
  baselines: string[],
): HttpBenchmark {
  return { name, unit: "ms", work: 1, baselines, path, bytes };
}
