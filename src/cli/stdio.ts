/** `-` instead of a file: stdin or stdout. */
import { statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { AppError } from "../api/errors.ts";
import {
  checkOutput,
  notReadable,
  removeWhenEnded,
  writeWhole,
} from "./files.ts";
import { sweep } from "./parts.ts";

export const STANDARD = "-";
/** Prefix of temporary files for stdin, followed by the pid. */
const STDIN = "mxfp4-edge-stdin";

/**
 * Calls `use` with the path of a file. For `-`, stdin is first copied to a temporary file, since its length must be
 * known, and memory stays constant. Errors: `file_not_found` if stdin is empty
 */
export async function withInput<T>(
  path: string,
  use: (path: string) => Promise<T>,
): Promise<T> {
  if (path !== STANDARD) return use(path);
  const kept = join(tmpdir(), `${STDIN}-${process.pid}`);
  await sweep(tmpdir(), STDIN, /^-(\d{1,10})$/);
  await sweep(tmpdir(), `.${STDIN}`, /^-(\d{1,10})\.\d+\.part$/);
  const settled = removeWhenEnded(kept);
  try {
    if ((await writeWhole(kept, process.stdin)) === 0)
      throw new AppError(
        "file_not_found",
        "Expected a file on stdin, got nothing: the command that writes it may have failed",
      );
    return await use(kept);
  } finally {
    await rm(kept, { force: true });
    settled();
  }
}

/** Checks that a file or directory exists, before its kind is refused. Errors: `file_not_found` */
export function checkThere(path: string): void {
  if (path === STANDARD) return;
  try {
    statSync(path);
  } catch (cause) {
    throw notReadable(path, cause);
  }
}

/** Like `checkOutput`; stdout is always writable. */
export function checkOutputOrStdout(path: string, force: boolean): void {
  if (path !== STANDARD) checkOutput(path, force);
}

/** Like `writeWhole`; `-` writes to stdout, as fast as it is read. */
export async function writeOutput(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<number> {
  if (path !== STANDARD) return writeWhole(path, chunks);
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    // Copied, since the next chunk may overwrite it before the pipe has taken it.
    if (!process.stdout.write(chunk.slice()))
      await once(process.stdout, "drain");
  }
  return bytes;
}
