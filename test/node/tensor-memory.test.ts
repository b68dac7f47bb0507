/**
 * Promise 4 on the real runtime: bodies of a GiB pass through one isolate whose process stays small.
 * MEMORY_TEST_MIB sets their size.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { GGML_TYPE } from "../../src/formats/containers/gguf-types.ts";
import { writeGgufHead } from "../../src/formats/containers/gguf-writer.ts";
import { writeHead } from "../../src/formats/containers/safetensors-writer.ts";
import {
  floatFile,
  FLOATS,
  type LargeFile,
  MIB,
  TENSOR_MIB,
} from "../support/large-files.ts";

const TENSORS = Number(process.env.MEMORY_TEST_MIB ?? 1024) / TENSOR_MIB;
const MAX_GROWTH = 64 * MIB;

let stateFolder: string;
let edge: Running;

beforeAll(async () => {
  stateFolder = mkdtempSync(join(tmpdir(), "mxfp4-edge-memory-"));
  edge = await startEdge({ stateFolder, quiet: true });
});

afterAll(async () => {
  await edge.close();
  rmSync(stateFolder, { recursive: true, force: true });
});

/** Resident bytes of the runtime's process. */
function resident(): number {
  const [pid] = readdirSync(join(stateFolder, "pids"));
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) * 1024;
}

/** The same number of values as MXFP4, an eighth of the bytes and a little. */
function packedFile(tensors: number): LargeFile {
  const u8 = (name: string, shape: number[]) => ({
    name,
    dtype: "U8" as const,
    shape,
  });
  return writeHead(
    Array.from({ length: tensors }, (_, i) => [
      u8(`layer.${i}.weight_blocks`, [4096, 128, 16]),
      u8(`layer.${i}.weight_scales`, [4096, 128]),
    ]).flat(),
    new Map(),
  );
}

/** As `floatFile`, in GGUF. */
function ggufFile(tensors: number): { head: Uint8Array; dataBytes: number } {
  return writeGgufHead(
    new Map(),
    Array.from({ length: tensors }, (_, i) => ({
      name: `blk.${i}.ffn_up.weight`,
      dimensions: [4096, 4096],
      type: GGML_TYPE.F32,
    })),
  );
}

/** Send a file whose data repeats `piece`, read the answer as it comes, and watch the process. */
async function send(
  path: string,
  { head, dataBytes }: LargeFile,
  piece: Uint8Array,
): Promise<{ status: number; bytes: number; declared: number; most: number }> {
  let most = 0;
  const watch = setInterval(() => (most = Math.max(most, resident())), 20);
  try {
    return await new Promise((resolve, reject) => {
      const call = request(
        `${edge.url}${path}`,
        {
          method: "POST",
          agent: false, // a connection that was kept may be closed by then
          headers: { "Content-Length": head.length + dataBytes },
        },
        (response) => {
          let bytes = 0;
          response.on("data", (chunk: Buffer) => (bytes += chunk.length));
          response.on("error", reject);
          response.on("end", () =>
            resolve({
              status: response.statusCode!,
              bytes,
              declared: Number(response.headers["content-length"]),
              most,
            }),
          );
        },
      );
      call.on("error", reject);
      call.write(head);
      let left = dataBytes;
      const write = (): void => {
        while (left > 0) {
          const length = Math.min(left, piece.length);
          left -= length;
          if (!call.write(piece.subarray(0, length))) {
            call.once("drain", write);
            return;
          }
        }
        call.end();
      };
      write();
    });
  } finally {
    clearInterval(watch);
  }
}

const CASES = [
  ["/v1/quantize", floatFile, FLOATS],
  ["/v1/dequantize", packedFile, new Uint8Array(MIB).fill(0x7a)],
  ["/v1/analyze?compare=ocp,gpt-oss", floatFile, FLOATS],
  ["/v1/analyze?compare=ggml", ggufFile, FLOATS],
] as const;

test.each(CASES)(
  "%s of 64 MiB tensors passes with less than 64 MiB of growth",
  async (path, fileOf, piece) => {
    // What the first requests make grow once: compiled code, the kernels' arena.
    await send(path, fileOf(1), piece);
    const before = resident();
    const started = performance.now();
    const file = fileOf(TENSORS);
    const { status, bytes, declared, most } = await send(path, file, piece);
    const seconds = (performance.now() - started) / 1000;
    console.log(
      `${path}: ${file.dataBytes / MIB} MiB in ${seconds.toFixed(1)} s, resident ${(before / MIB).toFixed(0)} MiB, at most ${(most / MIB).toFixed(0)} MiB`,
    );
    expect(status).toBe(200);
    if (path.startsWith("/v1/analyze")) expect(bytes).toBeGreaterThan(1000);
    else expect(bytes).toBe(declared);
    expect(most - before).toBeLessThan(MAX_GROWTH);
  },
);
