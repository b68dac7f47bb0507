/**
 * What is written stands beside its place, under a name with the number of the process, until it is whole. What a
 * process that was killed has left there goes with the next one that writes to the same place.
 */
import { createHash } from "node:crypto";
import { lstatSync } from "node:fs";
import { readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { AppError } from "../api/errors.ts";
import { isAlive } from "../local/alive.ts";

/** Of a name, in file systems; what is put around it here is shorter than the rest. */
const MAX_NAME_BYTES = 255;
const MAX_STEM_BYTES = MAX_NAME_BYTES - 24;
/** Under way here: another thread's or call's is no dead process's. */
const own = new Set<string>();

/** A name for what becomes `to`, once what a killed process has left of it is gone; `ended` when it is called so no more. */
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

/** Remove what is called `stem` and then as `pattern` says, with the number of a process that has ended. */
export async function sweep(
  folder: string,
  stem: string,
  pattern: RegExp,
): Promise<void> {
  // What cannot be listed is told by what writes there.
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
 * The whole part gets its name. A folder that is there, and is to be replaced, is put aside first, so that there is never half of it.
 * Errors: `file_exists` for what has come there meanwhile
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

/** Of a long name, a short one that is its alone. */
function stemOf(name: string): string {
  if (Buffer.byteLength(name) <= MAX_STEM_BYTES) return `.${name}`;
  return `.${createHash("sha256").update(name).digest("hex").slice(0, 32)}`;
}

/** A number that is this process's own is of one before it, as in containers, where each is the first. */
function isWriting(pid: number): boolean {
  return pid !== process.pid && isAlive(pid);
}
