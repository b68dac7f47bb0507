/**
 * Folders that are made, one by one: where a file system says of a new folder that it is not there, as /proc does,
 * Node's recursive `mkdir` asks for ever, and no signal ends it.
 */
import { lstatSync, mkdirSync, rmdirSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

/** Makes `path` and what is missing above it. Errors: that cannot be, or something else is there */
export function makeFolder(path: string): void {
  for (const folder of missing(resolve(path)))
    try {
      mkdirSync(folder);
    } catch (error) {
      // Another process may have made it meanwhile.
      if (!isFolder(folder)) throw refusal(folder, error);
    }
}

/** Whether `path` is a folder that files can be written to, or could be made; nothing stays of it. Errors: neither */
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

/** The folders above `path`, and itself, that are not there, the outermost first. */
function missing(path: string): string[] {
  if (isFolder(path) || dirname(path) === path) return [];
  return [...missing(dirname(path)), path];
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** What the machine says by itself is kept; of these codes it says what cannot be. */
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
