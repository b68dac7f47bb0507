/**
 * Downloads files and folders from an edge. A partial download is named by its version's ETag, and continued if that is
 * unchanged; a complete one gets its final name.
 */
import { createHash } from "node:crypto";
import { open, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { AppError } from "../api/errors.ts";
import type { FileEntry } from "../api/tensors.ts";
import { checkFileName } from "../api/text-rules.ts";
import type { Mxfp4Edge } from "../client/mxfp4-edge.ts";
import { makeFolder } from "../local/make-folder.ts";
import type { Bar } from "./bar.ts";
import { putInPlace } from "./parts.ts";
import { notWritable } from "./files.ts";

/** Parallel downloads of a folder. */
const PARALLEL = 3;
const END = Number.MAX_SAFE_INTEGER;

/** Downloads a file, or continues a partial download. */
export async function receiveFile(
  edge: Mxfp4Edge,
  name: string,
  to: string,
  bar: Bar,
): Promise<void> {
  const left = await partOf(to);
  // From the last byte on, so that the range is not empty for a complete file.
  const start = Math.max(0, (left?.bytes ?? 0) - 1);
  let from = start;
  let response = await edge
    .file(name, start > 0 ? { start, end: END } : undefined)
    .catch((error: unknown) => {
      if (!isBeyondEnd(error)) throw error;
      from = 0;
      return edge.file(name);
    });
  let part = partPath(to, response.headers.get("ETag") ?? "");
  if (left && left.path !== part) {
    await rm(left.path, { force: true });
    if (from > 0) {
      await response.body?.cancel();
      response = await edge.file(name);
      part = partPath(to, response.headers.get("ETag") ?? "");
      from = 0;
    }
  }
  bar.skip(from);
  const handle = await open(part, from > 0 ? "r+" : "w").catch(
    async (cause: unknown) => {
      await response.body?.cancel();
      throw notWritable(dirname(to), cause);
    },
  );
  try {
    let at = from;
    for await (const chunk of response.body ?? []) {
      await handle.write(chunk, 0, chunk.length, at);
      at += chunk.length;
      bar.add(chunk.length);
    }
    await handle.truncate(at);
  } finally {
    await handle.close();
  }
  await rename(part, to);
}

/** Downloads a folder, which appears under its name when it is complete. */
export async function receiveFolder(
  edge: Mxfp4Edge,
  folder: string,
  entries: readonly FileEntry[],
  to: string,
  bar: Bar,
): Promise<void> {
  const part = join(dirname(to), `.${basename(to)}.part`);
  makeFolder(part);
  const within = ({ name }: FileEntry): string => name.slice(folder.length + 1);
  const waiting = [...entries];
  const receiver = async (): Promise<void> => {
    for (let entry = waiting.shift(); entry; entry = waiting.shift()) {
      checkFileName(entry.name); // an edge must not choose a path outside the folder
      const path = join(part, within(entry));
      makeFolder(dirname(path));
      const there = await stat(path).catch(() => undefined);
      if (there?.size === entry.bytes && there.mtimeMs > entry.storedMs)
        bar.skip(entry.bytes);
      else await receiveFile(edge, entry.name, path, bar);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, receiver));
  await removeOthers(part, new Set(entries.map(within)));
  await putInPlace(part, to, true);
}

/** Removes files of an earlier partial download that the folder no longer has. */
async function removeOthers(
  part: string,
  names: ReadonlySet<string>,
): Promise<void> {
  const needed = [...names];
  for (const name of await readdir(part, { recursive: true })) {
    const own = name.split(sep).join("/");
    if (names.has(own) || needed.some((each) => each.startsWith(`${own}/`)))
      continue;
    await rm(join(part, name), { recursive: true, force: true });
  }
}

/** The partial download is of another version, longer than the current one. */
function isBeyondEnd(error: unknown): boolean {
  return error instanceof AppError && error.code === "range_not_satisfiable";
}

function partPath(to: string, etag: string): string {
  const version = createHash("sha256").update(etag).digest("hex").slice(0, 16);
  return join(dirname(to), `.${basename(to)}.${version}.part`);
}

/** The partial download of `to`, if any. */
async function partOf(
  to: string,
): Promise<{ path: string; bytes: number } | undefined> {
  const begin = `.${basename(to)}.`;
  const names = await readdir(dirname(to));
  const name = names.find(
    (each) =>
      each.startsWith(begin) &&
      /^[0-9a-f]{16}\.part$/.test(each.slice(begin.length)),
  );
  if (name === undefined) return undefined;
  const path = join(dirname(to), name);
  return { path, bytes: (await stat(path)).size };
}
