/**
 * Creates folders level by level: on file systems that report a new folder as missing, as /proc does, Node's recursive
 * `mkdir` loops forever and cannot be interrupted.
 */
import { lstatSync, mkdirSync, rmdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { isDirectory } from "./folders.ts";

/** Creates `path` and its missing parents. Errors: not possible, or a file is in the way */
export function makeFolder(path: string): void {
  for (const folder of missing(resolve(path)))
    try {
      mkdirSync(folder);
    } catch (error) {
      // Another process may have created it meanwhile.
      if (!isDirectory(folder)) throw refusal(folder, error);
    }
}

/** Checks that `path` is a writable folder or could be created as one; leaves nothing behind. Errors: neither */
export function checkWritable(path: string): void {
  const whole = resolve(path);
  const [first] = missing(whole);
  if (first !== undefined && lstatSync(first, { throwIfNoEntry: false }))
    throw occupied(first);
  const probe = join(
    first === undefined ? whole : dirname(first),
    `.mxfp4-edge-${process.pid}`,
  );
  try {
    mkdirSync(probe);
    rmdirSync(probe);
  } catch (error) {
    throw refusal(path, error);
  }
}

/** The missing folders of `path`, itself included, outermost first. */
function missing(path: string): string[] {
  if (isDirectory(path) || dirname(path) === path) return [];
  return [...missing(dirname(path)), path];
}

/** Rephrases the system's errors of these codes; others are kept. */
function refusal(path: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "EEXIST") return occupied(path, error);
  if (code !== "ENOENT") return error;
  return new Error(`Expected a writable folder, got ${path}`, {
    cause: error,
  });
}

function occupied(path: string, cause?: unknown): Error {
  return new Error(`Expected a folder, or none yet, got the file ${path}`, {
    cause,
  });
}
