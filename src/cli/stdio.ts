/** `-` in the place of a file: stdin, and stdout. */
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
/** What stdin gave is called in the folder for temporary files, with the process's number. */
const STDIN = "mxfp4-edge-stdin";

/**
 * Give `use` the path of a file, which for `-` has what stdin gives: heads tell how long a file is, so it
 * is kept in the folder for temporary files until then, and memory stays flat. Errors: `file_not_found`, it is empty
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

/** Before it is taken for a file or a directory, and refused as one that the other would have to be. Errors: `file_not_found` */
export function checkThere(path: string): void {
  if (path === STANDARD) return;
  try {
    statSync(path);
  } catch (cause) {
    throw notReadable(path, cause);
  }
}

/** As `checkOutput`; stdout may always be written. */
export function checkOutputOrStdout(path: string, force: boolean): void {
  if (path !== STANDARD) checkOutput(path, force);
}

/** As `writeWhole`; to stdout for `-`, as fast as it is read. */
export async function writeOutput(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<number> {
  if (path !== STANDARD) return writeWhole(path, chunks);
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    // The next may overwrite it, before a pipe has taken it.
    if (!process.stdout.write(chunk.slice()))
      await once(process.stdout, "drain");
  }
  return bytes;
}
