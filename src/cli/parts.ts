/**
 * Output is written next to its destination under a temporary name with the process's pid, until it is complete. What
 * killed processes left there is removed by the next one that writes to the same destination.
 */
import { createHash } from "node:crypto";
import { lstatSync } from "node:fs";
import { readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { AppError } from "../api/errors.ts";
import { isAlive } from "../local/alive.ts";

/** Limit of file systems; the affixes added here are shorter than the rest. */
const MAX_NAME_BYTES = 255;
const MAX_STEM_BYTES = MAX_NAME_BYTES - 24;
/** Temporary files of this process, which may have several threads or calls. */
const own = new Set<string>();

/** A temporary name for `to`, after removing what killed processes left; call `ended` when it is no longer used. */
export async function beginPart(
  to: string,
): Promise<{ part: string; ended: () => void }> {
  const folder = dirname(resolve(to));
  const stem = stemOf(basename(resolve(to)));
  await sweep(folder, stem, /^\.(\d{1,10})\.(?:part|old)$/);
  const part = join(folder, `${stem}.${process.pid}.part`);
  own.add(part);
  return { part, ended: () => own.delete(part) };
}

/** Removes files named `stem` and `pattern` whose pid belongs to an ended process. */
export async function sweep(
  folder: string,
  stem: string,
  pattern: RegExp,
): Promise<void> {
  // If the folder cannot be listed, writing to it reports the error.
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    if (!name.startsWith(stem)) continue;
    const [, pid] = pattern.exec(name.slice(stem.length)) ?? [];
    const path = join(folder, name);
    if (pid === undefined || own.has(path) || isWriting(Number(pid))) continue;
    await rm(path, { recursive: true, force: true });
  }
}

/**
 * Renames the complete part. A folder to be replaced is first renamed, so that there is never a partial one. Errors:
 * `file_exists` if `to` was created meanwhile
 */
export async function putInPlace(
  part: string,
  to: string,
  force: boolean,
): Promise<void> {
  const target = resolve(to);
  const there = lstatSync(target, { throwIfNoEntry: false });
  if (!there) return rename(part, target);
  if (!force)
    throw new AppError(
      "file_exists",
      `Expected no ${to}, got one that was created in the meantime`,
    );
  if (!there.isDirectory()) return rename(part, target);
  const stem = stemOf(basename(target));
  const old = join(dirname(target), `${stem}.${process.pid}.old`);
  await rename(target, old);
  try {
    await rename(part, target);
  } catch (error) {
    await rename(old, target);
    throw error;
  }
  await rm(old, { recursive: true, force: true });
}

/** A short, unique substitute for long names. */
function stemOf(name: string): string {
  if (Buffer.byteLength(name) <= MAX_STEM_BYTES) return `.${name}`;
  return `.${createHash("sha256").update(name).digest("hex").slice(0, 32)}`;
}

/** This process's own pid in a name is that of an earlier process, as in containers, where pids are equal. */
function isWriting(pid: number): boolean {
  return pid !== process.pid && isAlive(pid);
}
