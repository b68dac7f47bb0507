/** Reads and writes files piece by piece. */
import { type FileHandle, open, rm } from "node:fs/promises";
import { lstatSync, openAsBlob, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { AppError } from "../api/errors.ts";
import { reasonOf } from "../client/retry.ts";
import { bytesOfRuns, type FileRange } from "../formats/stream/file-range.ts";
import { FileSource } from "../formats/stream/file-source.ts";
import { type ByteSource, endedEarly } from "../formats/stream/source.ts";
import { beginPart, putInPlace } from "./parts.ts";
import { writeBehind } from "./write-behind.ts";

/** Reads several files in sequence, each from an offset to its end. */
export class OpenFile implements ByteSource {
  /** Total bytes to read. */
  readonly bytes: number;
  readonly #handles: readonly FileHandle[];
  readonly #source: FileSource<FileHandle>;
  readonly #onRead: (bytes: number) => void;

  private constructor(
    runs: readonly FileRange<FileHandle>[],
    onRead: (bytes: number) => void,
  ) {
    this.#handles = runs.map(({ file }) => file);
    this.bytes = bytesOfRuns(runs);
    this.#onRead = onRead;
    this.#source = new FileSource(readHandle, runs, { readsAhead: true });
  }

  /** `onRead` is called with the number of bytes taken. */
  static async open(
    files: readonly { path: string; start: number }[],
    onRead: (bytes: number) => void = () => {},
  ): Promise<OpenFile> {
    const runs: FileRange<FileHandle>[] = [];
    try {
      for (const { path, start } of files) {
        const file = await open(path, "r").catch((cause: unknown) => {
          throw notReadable(path, cause);
        });
        const run = { file, start, end: start };
        runs.push(run);
        const status = await file.stat();
        if (!status.isFile()) throw notReadable(path);
        run.end = status.size;
      }
      return new OpenFile(runs, onRead);
    } catch (error) {
      for (const { file } of runs) await file.close();
      throw error;
    }
  }

  async take(bytes: number): Promise<Uint8Array> {
    const taken = await this.#source.take(bytes);
    this.#onRead(bytes);
    return taken;
  }

  async close(): Promise<void> {
    for (const handle of this.#handles) await handle.close();
  }
}

/** Reads into `into` if it is large enough. Errors: `malformed_body` if the file has become shorter */
export async function readHandle(
  handle: FileHandle,
  start: number,
  length: number,
  into?: ArrayBuffer,
): Promise<Uint8Array> {
  const fits = into !== undefined && into.byteLength >= length;
  const bytes = new Uint8Array(
    fits ? into : new ArrayBuffer(length),
    0,
    length,
  );
  for (let end = 0; end < length;) {
    const { bytesRead } = await handle.read(
      bytes,
      end,
      length - end,
      start + end,
    );
    if (bytesRead === 0) throw endedEarly(length, end);
    end += bytesRead;
  }
  return bytes;
}

/** A file to send, read while sending. Errors: `file_not_found` */
export async function fileBlob(path: string): Promise<Blob> {
  if (!statSync(path, { throwIfNoEntry: false })?.isFile())
    throw notReadable(path);
  return openAsBlob(path).catch((cause: unknown) => {
    throw notReadable(path, cause);
  });
}

/** `cause`: the system's error; undefined if it exists but is not a file. */
export function notReadable(path: string, cause?: unknown): AppError {
  const { code } = (cause ?? {}) as NodeJS.ErrnoException;
  const why =
    code === "ENOENT"
      ? /^https?:\/\//.test(path)
        ? "it is not on this machine; `inspect` reads URLs, and an edge converts them in jobs"
        : "it does not exist"
      : cause === undefined
        ? "it is not a file"
        : reasonOf(cause);
  return new AppError(
    "file_not_found",
    `Expected a readable file, got ${path}: ${why}`,
    { cause },
  );
}

/**
 * Checks that `path` may be written, before any work is done. Only a plain file may be replaced: the output is renamed
 * to `path`, which would replace a device or a link by a file. Errors: `file_exists`, `file_not_found` if the folder is
 * missing
 */
export function checkOutput(path: string, force: boolean): void {
  const folder = dirname(path);
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory())
    throw notWritable(folder);
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there === undefined) return;
  if (!there.isFile()) {
    throw new AppError(
      "file_exists",
      `Expected a new output or a plain file, got ${path}, which is a directory, link or device`,
    );
  }
  if (force) return;
  throw new AppError(
    "file_exists",
    `Expected a new output, got ${path}, which exists; --force overwrites it`,
  );
}

/** Names the folder that is not writable. */
export function notWritable(folder: string, cause?: unknown): AppError {
  return new AppError(
    "file_not_found",
    `Expected a writable folder, got ${folder}`,
    { cause },
  );
}

/** Writes a file that appears under its name only when complete; replaces one that existed at the start. */
export async function writeWhole(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<number> {
  const replaces = lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  const folder = dirname(path);
  const { part, ended } = await beginPart(path);
  const handle = await open(part, "wx").catch((cause: unknown) => {
    ended();
    throw notWritable(folder, cause);
  });
  const settled = removeWhenEnded(part);
  try {
    const bytes = await writeBehind(handle, chunks);
    await handle.close();
    await putInPlace(part, path, replaces);
    return bytes;
  } catch (error) {
    await handle.close().catch(() => {
      // It was closed already.
    });
    await rm(part, { force: true });
    throw error;
  } finally {
    settled();
    ended();
  }
}

/** On a signal that ends the process, removes `part`, until the returned function is called. */
export function removeWhenEnded(part: string): () => void {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const settled = (): void => {
    for (const signal of signals) process.removeListener(signal, end);
  };
  const end = (signal: NodeJS.Signals): void => {
    settled();
    rmSync(part, { recursive: true, force: true });
    process.kill(process.pid, signal); // so that the exit status tells of it
  };
  for (const signal of signals) process.on(signal, end);
  return settled;
}
