/** Writes a converted directory; it appears under its name when it is complete. */
import { copyFile, mkdir, open, rm, writeFile } from "node:fs/promises";
import { existsSync, lstatSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { AppError } from "../api/errors.ts";
import { type Norms, readNorms } from "../checkpoints/fold.ts";
import type { FolderPlan } from "../checkpoints/folder-plan.ts";
import type { RangedFile } from "../checkpoints/read-heads.ts";
import type { PlannedShard } from "../checkpoints/shards.ts";
import { readInOrder } from "../checkpoints/tensor-reads.ts";
import { run } from "../formats/stream/conversion.ts";
import { bytesOfRuns } from "../formats/stream/file-range.ts";
import { Bar } from "./bar.ts";
import { Digests } from "./digests.ts";
import { notWritable, removeWhenEnded } from "./files.ts";
import { UsageError } from "./file-arguments.ts";
import { beginPart, putInPlace } from "./parts.ts";
import { openedFiles, localFile } from "./ranged-files.ts";
import { STANDARD } from "./stdio.ts";
import { writeBehind } from "./write-behind.ts";

type Files = ReadonlyMap<string, RangedFile>;

export type DirectoryOutput = {
  operation: string;
  from: string;
  to: string;
  force: boolean;
  plan: FolderPlan;
};

/** Returns the seconds it took. Errors: `file_exists`, `file_not_found` if the parent folder is missing */
export async function writeDirectory(output: DirectoryOutput): Promise<number> {
  const { operation, from, to, force, plan } = output;
  const { shards, texts, copies, digested } = plan;
  const bar = new Bar(operation);
  // Fail before the rest, which may take hours.
  for (const name of copies) await localFile(join(from, name));
  try {
    await writeFolder(to, force, async (part) => {
      const reads = shards.flatMap((shard) => shard.reads);
      const files = await openedFiles(reads, (file) =>
        localFile(join(from, file)),
      );
      bar.begin(bytesOfRuns(reads));
      const norms = await readNorms(plan, ({ file, start, end }) =>
        files.get(file)!.read(start, end),
      );
      const digests = digested.size > 0 ? new Digests(digested) : undefined;
      try {
        for (const shard of shards)
          await writeShard(
            join(part, shard.file),
            shard,
            norms,
            files,
            bar,
            digests,
          );
      } finally {
        await digests?.end();
      }
      for (const name of copies)
        await copyFile(join(from, name), join(part, name));
      const [card, cardOf] = plan.card;
      for (const [name, text] of [
        [card, cardOf(digests?.all ?? new Map())],
        ...texts,
      ] as const)
        await writeFile(join(part, name), text);
    });
  } finally {
    bar.end();
  }
  return bar.seconds;
}

/** Calls `fill` to write a folder under a temporary name, which is removed on Ctrl-C. */
export async function writeFolder(
  to: string,
  force: boolean,
  fill: (part: string) => Promise<void>,
): Promise<void> {
  const { part, ended } = await beginPart(to);
  const settled = removeWhenEnded(part);
  let begun = false;
  try {
    await mkdir(part).catch((cause: unknown) => {
      throw notWritable(dirname(part), cause);
    });
    begun = true;
    await fill(part);
    await putInPlace(part, to, force);
  } catch (error) {
    if (begun && !existsSync(part)) throw notWritable(dirname(part), error);
    await rm(part, { recursive: true, force: true });
    throw error;
  } finally {
    settled();
    ended();
  }
}

async function writeShard(
  path: string,
  shard: PlannedShard,
  norms: Norms,
  files: Files,
  bar: Bar,
  digests: Digests | undefined,
): Promise<void> {
  const conversion = shard.conversion(norms);
  const handle = await open(path, "wx");
  const look = digests?.of(shard, conversion.head.length);
  try {
    const source = readInOrder(shard.reads, files, (bytes) => bar.add(bytes), {
      readsAhead: true,
    });
    await writeBehind(handle, run(conversion, source), look);
  } finally {
    await handle.close();
  }
}

/** Errors: `file_exists`, `file_not_found` if the parent folder is missing; `UsageError` for stdout */
export function checkOutputFolder(path: string, force: boolean): void {
  if (path === STANDARD)
    throw new UsageError(
      "Expected a directory to write, got -, which is stdout",
    );
  const above = dirname(resolve(path));
  if (!lstatSync(above, { throwIfNoEntry: false })?.isDirectory())
    throw notWritable(above);
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there === undefined || (force && there.isDirectory())) return;
  throw new AppError(
    "file_exists",
    `Expected a new output, got ${path}, which exists${there.isDirectory() ? "; --force overwrites it" : " and is not a directory"}`,
  );
}
