/**
 * The command on a model's directory, as a process of its own.
 *
 *   directory/quantize   `mxfp4-edge quantize DIR --for vllm` of 2 GB of bf16 in four files, by the package
 *   directory/copy       `cp -r` of the same directory
 *
 * Rates are of the bytes read, so 0.4 of the copy's is 2.5 times its time. directory/quantize-memory is the
 * most that the command's process had resident in any round. Only where it is asked for by name: it takes
 * 5 GB of the disk.
 */
import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Benchmark } from "./benchmark.ts";
import { normals } from "./data.ts";
import type { TimedGroup } from "./measure.ts";

const PACK = resolve(import.meta.dirname, "../src/scripts/pack.ts");
const [HIDDEN, INNER, LAYERS, FILES] = [2048, 8192, 15, 4];
const SHAPES: readonly (readonly [name: string, out: number, into: number])[] =
  [
    ["self_attn.q_proj", HIDDEN, HIDDEN],
    ["self_attn.k_proj", HIDDEN, HIDDEN],
    ["self_attn.v_proj", HIDDEN, HIDDEN],
    ["self_attn.o_proj", HIDDEN, HIDDEN],
    ["mlp.gate_proj", INNER, HIDDEN],
    ["mlp.up_proj", INNER, HIDDEN],
    ["mlp.down_proj", HIDDEN, INNER],
  ];
const BYTES = SHAPES.reduce((sum, [, m, n]) => sum + 2 * m * n, 0) * LAYERS;

const COPY = "directory/copy";
export const DIRECTORY_BENCHMARKS: readonly Benchmark[] = [
  { name: COPY, unit: "GB/s", work: BYTES, baselines: [] },
  { name: "directory/quantize", unit: "GB/s", work: BYTES, baselines: [COPY] },
];

/** Of seconds and gigabytes each. */
const MOST_ROUNDS = 5;

/** With the directory on this disk for as long as the group is used. */
export function* directoryGroup(): Generator<TimedGroup> {
  const folder = mkdtempSync(join(tmpdir(), "mxfp4-edge-bench-directory-"));
  const model = join(folder, "model");
  const main = installed(folder);
  const samples: number[] = [];
  const clocks = {
    copy: () => timed("cp", ["-r", model, join(folder, "copy")]),
    quantize() {
      // The process tells of itself.
      const script = `process.argv.splice(1, 0, "main"); await import(${JSON.stringify(main)}); console.log(process.resourceUsage().maxRSS)`;
      const args = [
        "quantize",
        model,
        "-o",
        join(folder, "made"),
        "--for",
        "vllm",
      ];
      const made = timed(process.execPath, [
        "--input-type=module",
        "--eval",
        script,
        ...args,
      ]);
      samples.push(Number(made.out) / 1024);
      return made;
    },
  };
  const clockOf = (name: string) => async (iterations: number) => {
    let seconds = 0;
    for (let i = 0; i < iterations; i++) {
      seconds += clocks[name === COPY ? "copy" : "quantize"]().seconds;
      for (const made of ["copy", "made"])
        rmSync(join(folder, made), { recursive: true, force: true });
    }
    return seconds;
  };
  try {
    writeModel(model);
    yield {
      name: "directory",
      benchmarks: DIRECTORY_BENCHMARKS.map((benchmark) => ({
        ...benchmark,
        time: clockOf(benchmark.name),
      })),
      mostRounds: MOST_ROUNDS,
      beside: () => ({
        name: "directory/quantize-memory",
        runtime: "node",
        value: Math.max(...samples),
        unit: "MiB",
        samples,
      }),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The command as users have it: from its sources it would take a third of a second to begin. */
function installed(folder: string): string {
  const { out } = timed(process.execPath, [PACK]);
  timed("tar", ["xzf", out.trim(), "-C", folder]);
  return join(folder, "package/dist/cli/main.js");
}

function timed(command: string, args: readonly string[]) {
  const start = performance.now();
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: "utf8",
  });
  const seconds = (performance.now() - start) / 1000;
  if (status === 0) return { seconds, out: stdout };
  throw new Error(`Expected ${command} to end well, got ${stderr}`);
}

function writeModel(path: string): void {
  mkdirSync(path);
  writeFileSync(
    join(path, "config.json"),
    JSON.stringify({ model_type: "llama" }),
  );
  const weight_map: Record<string, string> = {};
  const values = bf16(normals(1, HIDDEN * HIDDEN));
  for (let file = 0; file < FILES; file++) {
    const name = `model-0000${file + 1}-of-0000${FILES}.safetensors`;
    const header: Record<string, unknown> = {};
    let end = 0;
    for (let layer = file; layer < LAYERS; layer += FILES)
      for (const [module, out, into] of SHAPES) {
        const tensor = `model.layers.${layer}.${module}.weight`;
        const start = end;
        end += 2 * out * into;
        header[tensor] = {
          dtype: "BF16",
          shape: [out, into],
          data_offsets: [start, end],
        };
        weight_map[tensor] = name;
      }
    const json = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    const handle = openSync(join(path, name), "wx");
    writeSync(handle, Buffer.concat([length, json]));
    for (let at = 0; at < end; at += values.length) writeSync(handle, values);
    closeSync(handle);
  }
  writeFileSync(
    join(path, "model.safetensors.index.json"),
    JSON.stringify({ weight_map }),
  );
}

/** Cut, which is as good here as rounded. */
function bf16(values: Float32Array): Uint8Array {
  const words = new Uint32Array(
    values.buffer,
    values.byteOffset,
    values.length,
  );
  const halves = Uint16Array.from(words, (word) => word >>> 16);
  return new Uint8Array(halves.buffer);
}
