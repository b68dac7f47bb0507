/** A model's directory to another, which a loader takes: it appears under its name when it is whole. */
import { createHash, type Hash } from "node:crypto";
import { copyFile, mkdir, open, rename, rm, writeFile } from "node:fs/promises";
import { lstatSync, rmSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import pc from "picocolors";
import { AppError } from "../api/errors.ts";
import type { QuantizeOptions } from "../api/tensors.ts";
import {
  DIRECTORY_OPTIONS,
  type Rotation,
  SELECTION_OPTIONS,
} from "../api/options.ts";
import { withDefaults } from "../api/option-kinds.ts";
import type { CheckpointTensor } from "../checkpoints/checkpoint.ts";
import { type Norms, normOf } from "../checkpoints/fold.ts";
import { inspect } from "../checkpoints/inspect.ts";
import { modelCard } from "../checkpoints/model-card.ts";
import {
  dataBytes,
  type DirectoryPlan,
  planDirectory,
  type PlannedShard,
} from "../checkpoints/quantize-plan.ts";
import { type RangedFile, readFolder } from "../checkpoints/read-heads.ts";
import { headBytes } from "../checkpoints/shards.ts";
import type { Target } from "../checkpoints/targets.ts";
import { schemeOf } from "../formats/blocks/scheme.ts";
import { run } from "../formats/stream/conversion.ts";
import type { ByteSource } from "../formats/stream/source.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { Bar, size } from "./bar.ts";
import { UsageError } from "./file-arguments.ts";
import { localFile, localFolder } from "./ranged-files.ts";

/** Other forms of the weights, which the output has its own of. */
const WEIGHT_FILE =
  /\.(safetensors|bin|pt|pth|gguf|onnx|h5|msgpack|ot)$|\.index\.json$/;
const WRITTEN = new Set(["config.json", "README.md"]);
const WINDOW_BYTES = 4 * 1024 * 1024;

export type DirectoryRequest = {
  from: string;
  to: string;
  target: Target | undefined;
  maxShardBytes: number;
  force: boolean;
  rotate: Rotation | undefined;
  options: QuantizeOptions;
};

export async function quantizeDirectory(
  request: DirectoryRequest,
): Promise<void> {
  const { from, to, target, maxShardBytes, options } = request;
  const folder = localFolder(from);
  const checkpoint = await readFolder(folder);
  if (target === undefined) {
    const able = inspect(checkpoint).loaders.filter(({ loads }) => loads);
    const names = able.map(({ loader }) => loader).join(", ") || "none";
    throw new UsageError(
      `Expected --for and a loader, got a directory alone; this model can be made for ${names}`,
    );
  }
  checkOutputFolder(to, request.force);
  loadKernelsFile();
  const scheme = schemeOf(options);
  const { rotate } = withDefaults(DIRECTORY_OPTIONS, {
    rotate: request.rotate,
  });
  const plan = planDirectory(checkpoint, {
    target,
    rotate,
    scheme,
    selection: withDefaults(SELECTION_OPTIONS, options),
    maxShardBytes,
  });
  const part = join(
    dirname(resolve(to)),
    `.${basename(to)}.${process.pid}.part`,
  );
  const bar = new Bar("quantize");
  const settled = removeWhenEnded(part);
  try {
    await mkdir(part);
    const files = new Map<string, RangedFile>();
    for (const { file } of checkpoint.tensors)
      if (!files.has(file)) files.set(file, await localFile(join(from, file)));
    bar.begin(plan.tensors.reduce((sum, each) => sum + headBytes(each), 0));
    const norms = await normsOf(plan, files);
    const digests = new Map<string, string>();
    for (const shard of plan.shards)
      await writeShard(
        join(part, shard.file),
        shard,
        norms,
        files,
        bar,
        digests,
      );
    for (const [name, text] of plan.texts)
      await writeFile(join(part, name), text);
    await copySmallFiles(folder, from, part);
    const card = modelCard({
      name: basename(resolve(from)),
      target,
      options,
      foldSeed: rotate === "fold" ? scheme.seed : undefined,
      tensors: plan.decisions.flatMap(({ packed }, i) => {
        const { name, shape } = plan.tensors[i]!;
        return packed ? [{ name, shape, digest: digests.get(name)! }] : [];
      }),
      bytesBefore: checkpoint.tensors.reduce(
        (n, each) => n + headBytes(each),
        0,
      ),
      bytesAfter: dataBytes(plan),
    });
    await writeFile(join(part, "README.md"), card);
    if (request.force) await rm(to, { recursive: true, force: true });
    await rename(part, to);
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    throw error;
  } finally {
    settled();
    bar.end();
  }
  const packed = plan.decisions.filter((each) => each.packed).length;
  console.error(
    `${pc.bold(to)}: ${packed} of ${plan.tensors.length} tensors in MXFP4 for ${target}, ${size(dataBytes(plan))} in ${bar.seconds.toFixed(1)} s`,
  );
}

/** The norms that a rotation takes with it, read before the weights. */
async function normsOf(
  { norms, normOffset }: DirectoryPlan,
  files: ReadonlyMap<string, RangedFile>,
): Promise<Norms> {
  const read = new Map<string, Float32Array>();
  for (const tensor of norms) {
    const { name, file, start, end } = tensor;
    const bytes = await files.get(file)!.read(start, end);
    read.set(name, normOf(tensor, bytes, normOffset));
  }
  return read;
}

async function writeShard(
  path: string,
  shard: PlannedShard,
  norms: Norms,
  files: ReadonlyMap<string, RangedFile>,
  bar: Bar,
  digests: Map<string, string>,
): Promise<void> {
  const handle = await open(path, "wx");
  const conversion = shard.conversion(norms);
  const digest = new Digests(shard, conversion.head.length, digests);
  try {
    for await (const chunk of run(
      conversion,
      rangesOf(shard.reads, files, bar),
    )) {
      await handle.writeFile(chunk);
      digest.take(chunk);
    }
  } finally {
    await handle.close();
  }
}

/** SHA-256 of the bytes that stand for each tensor, as they go by. */
class Digests {
  readonly #ends: { name: string; end: number }[] = [];
  readonly #digests: Map<string, string>;
  #position = 0;
  #next = 0;
  #hash: Hash = createHash("sha256");

  constructor(
    { reads, groups }: PlannedShard,
    headLength: number,
    digests: Map<string, string>,
  ) {
    this.#digests = digests;
    this.#ends.push({ name: "", end: headLength });
    let end = headLength;
    groups.forEach((heads, i) => {
      for (const head of heads) end += headBytes(head);
      this.#ends.push({ name: reads[i]!.name, end });
    });
  }

  take(chunk: Uint8Array): void {
    let at = 0;
    while (this.#next < this.#ends.length) {
      const { name, end } = this.#ends[this.#next]!;
      const length = Math.min(end - this.#position, chunk.length - at);
      this.#hash.update(chunk.subarray(at, at + length));
      at += length;
      this.#position += length;
      if (this.#position < end) return;
      this.#digests.set(name, this.#hash.digest("hex"));
      this.#hash = createHash("sha256");
      this.#next++;
    }
  }
}

/** The tensors' bytes one behind the other, read in windows that end with each. */
function rangesOf(
  reads: readonly CheckpointTensor[],
  files: ReadonlyMap<string, RangedFile>,
  bar: Bar,
): ByteSource {
  let next = 0;
  let [window, position, end] = [new Uint8Array(0), 0, 0];
  return {
    async take(bytes) {
      while (position === end && window.length === 0) {
        const tensor = reads[next++]!;
        [position, end] = [tensor.start, tensor.end];
      }
      const { file } = reads[next - 1]!;
      if (window.length < bytes) {
        const wanted = Math.max(bytes - window.length, WINDOW_BYTES);
        const until = Math.min(position + wanted, end);
        const read = await files.get(file)!.read(position, until);
        position = until;
        if (window.length === 0) {
          window = read as Uint8Array<ArrayBuffer>;
        } else {
          const joined = new Uint8Array(window.length + read.length);
          joined.set(window);
          joined.set(read, window.length);
          window = joined;
        }
      }
      const taken = window.subarray(0, bytes);
      window = window.subarray(bytes);
      bar.add(bytes);
      return taken;
    },
  };
}

async function copySmallFiles(
  folder: ReturnType<typeof localFolder>,
  from: string,
  to: string,
): Promise<void> {
  for (const name of (await folder.list())!)
    if (!WEIGHT_FILE.test(name) && !WRITTEN.has(name))
      await copyFile(join(from, name), join(to, name));
}

/** Errors: `file_exists`, `file_not_found` without the folder above */
function checkOutputFolder(path: string, force: boolean): void {
  const above = dirname(resolve(path));
  if (!lstatSync(above, { throwIfNoEntry: false })?.isDirectory())
    throw new AppError(
      "file_not_found",
      `Expected a folder that can be written to, got ${above}`,
    );
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there === undefined || (force && there.isDirectory())) return;
  throw new AppError(
    "file_exists",
    `Expected no ${path}, got one${there.isDirectory() ? "; --force replaces it" : ""}`,
  );
}

function removeWhenEnded(part: string): () => void {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const settled = (): void => {
    for (const signal of signals) process.removeListener(signal, end);
  };
  const end = (signal: NodeJS.Signals): void => {
    settled();
    rmSync(part, { recursive: true, force: true });
    process.kill(process.pid, signal);
  };
  for (const signal of signals) process.on(signal, end);
  return settled;
}
