/** A directory that is written from another: it appears under its name when it is whole. */
import { createHash, type Hash } from "node:crypto";
import { copyFile, mkdir, open, rename, rm, writeFile } from "node:fs/promises";
import { lstatSync, rmSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { AppError } from "../api/errors.ts";
import type { Norms } from "../checkpoints/fold.ts";
import type { RangedFile } from "../checkpoints/read-heads.ts";
import { headBytes, type PlannedShard } from "../checkpoints/shards.ts";
import { readInOrder } from "../checkpoints/tensor-reads.ts";
import { run } from "../formats/stream/conversion.ts";
import { Bar } from "./bar.ts";
import { localFile, localFolder } from "./ranged-files.ts";

/** Other forms of the weights, which the output has its own of. */
const WEIGHT_FILE =
  /\.(safetensors|bin|pt|pth|gguf|onnx|h5|msgpack|ot)$|\.index\.json$/;
const WRITTEN = new Set(["config.json", "README.md"]);

type Files = ReadonlyMap<string, RangedFile>;

export type DirectoryOutput = {
  operation: string;
  from: string;
  to: string;
  force: boolean;
  shards: readonly PlannedShard[];
  texts: readonly (readonly [file: string, text: string])[];
  /** What conversions need beside what they take. */
  norms?: (files: Files) => Promise<Norms>;
  /** README.md, of the digests of what stands for each tensor. */
  card: (digests: ReadonlyMap<string, string>) => string;
};

/** Errors: `file_exists`, `file_not_found` without the folder above. Seconds that it took */
export async function writeDirectory(output: DirectoryOutput): Promise<number> {
  const { from, to, force, shards } = output;
  const part = join(
    dirname(resolve(to)),
    `.${basename(to)}.${process.pid}.part`,
  );
  const bar = new Bar(output.operation);
  const settled = removeWhenEnded(part);
  try {
    await mkdir(part);
    const reads = shards.flatMap((shard) => shard.reads);
    const files = new Map<string, RangedFile>();
    for (const { file } of reads)
      if (!files.has(file)) files.set(file, await localFile(join(from, file)));
    bar.begin(reads.reduce((sum, { start, end }) => sum + end - start, 0));
    const norms = (await output.norms?.(files)) ?? new Map();
    const digests = new Map<string, string>();
    for (const shard of shards)
      await writeShard(
        join(part, shard.file),
        shard,
        norms,
        files,
        bar,
        digests,
      );
    for (const [name, text] of output.texts)
      await writeFile(join(part, name), text);
    await copySmallFiles(from, part);
    await writeFile(join(part, "README.md"), output.card(digests));
    if (force) await rm(to, { recursive: true, force: true });
    await rename(part, to);
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    throw error;
  } finally {
    settled();
    bar.end();
  }
  return bar.seconds;
}

async function writeShard(
  path: string,
  shard: PlannedShard,
  norms: Norms,
  files: Files,
  bar: Bar,
  digests: Map<string, string>,
): Promise<void> {
  const conversion = shard.conversion(norms);
  const handle = await open(path, "wx");
  const digest = new Digests(shard, conversion.head.length, digests);
  try {
    for await (const chunk of run(
      conversion,
      readInOrder(shard.reads, files, (bytes) => bar.add(bytes)),
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
    { groups }: PlannedShard,
    headLength: number,
    digests: Map<string, string>,
  ) {
    this.#digests = digests;
    this.#ends.push({ name: "", end: headLength });
    let end = headLength;
    for (const { name, heads } of groups) {
      for (const head of heads) end += headBytes(head);
      this.#ends.push({ name, end });
    }
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

async function copySmallFiles(from: string, to: string): Promise<void> {
  for (const name of (await localFolder(from).list())!)
    if (!WEIGHT_FILE.test(name) && !WRITTEN.has(name))
      await copyFile(join(from, name), join(to, name));
}

/** Errors: `file_exists`, `file_not_found` without the folder above */
export function checkOutputFolder(path: string, force: boolean): void {
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
