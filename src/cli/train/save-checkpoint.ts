/** Saves a run's parameters or full state to a file, atomically, without overwriting another file. */
import {
  constants,
  createWriteStream,
  readFileSync,
  rmSync,
  statSync,
} from "node:fs";
import { copyFile, link, rename } from "node:fs/promises";
import { join, parse } from "node:path";
import { pipeline } from "node:stream/promises";
import { bytesOf } from "../../client/broken-off.ts";
import type { RunClient } from "../../client/run-client.ts";

/** Returns the path: `file`, or the next free numbered name if `file` was created meanwhile, unless `force`. */
export async function saveCheckpoint(
  run: RunClient,
  file: string,
  force: boolean,
  isFull: boolean,
): Promise<string> {
  const answer = await run.checkpoint({
    state: isFull ? "full" : "parameters",
  });
  const partial = `${file}.${run.run}.partial`;
  const removePartial = () => rmSync(partial, { force: true });
  process.once("exit", removePartial); // a second Ctrl-C skips `finally`
  try {
    // Overwrites the remains of an interrupted save.
    await pipeline(bytesOf(answer), createWriteStream(partial));
    if (areSame(partial, file)) return file;
    if (!force) return await linkFree(partial, file);
    await rename(partial, file);
    return file;
  } finally {
    removePartial();
    process.off("exit", removePartial);
  }
}

/** Whether it was saved before by a process that was killed before it could remove its note. */
function areSame(one: string, other: string): boolean {
  const size = (file: string) =>
    statSync(file, { throwIfNoEntry: false })?.size;
  return (
    size(one) === size(other) && readFileSync(one).equals(readFileSync(other))
  );
}

/** Links to the first free name: `x.y`, `x-2.y`, … A rename would overwrite. */
export async function linkFree(from: string, to: string): Promise<string> {
  const { dir, name, ext } = parse(to);
  for (let count = 1; ; count++) {
    const free = count === 1 ? to : join(dir, `${name}-${count}${ext}`);
    try {
      await linkNew(from, free);
      return free;
    } catch (error) {
      if (!isTaken(error)) throw error;
    }
  }
}

async function linkNew(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (isTaken(error)) throw error;
    // The file system has no hard links, or is full; the latter fails again here.
    await copyFile(from, to, constants.COPYFILE_EXCL);
  }
}

function isTaken(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "EEXIST";
}
