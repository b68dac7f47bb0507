/** Uploads files and directories to an edge, skipping what is there already. */
import { realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "../api/errors.ts";
import type { FileEntry } from "../api/tensors.ts";
import { checkFileName } from "../api/text-rules.ts";
import type { Mxfp4Edge } from "../client/mxfp4-edge.ts";
import { isDirectory } from "../local/folders.ts";
import type { Bar } from "./bar.ts";
import { fileBlob, notReadable } from "./files.ts";
import { localFolder } from "./ranged-files.ts";

/** A local file, and its name on the edge. */
export type Sending = { path: string; name: string };

export type Sent = { files: number; bytes: number; present: number };

/** A file as `name`, or a directory's files accepted by `takes`, in a folder `name`. */
export async function sendingsOf(
  path: string,
  name: string,
  takes: (file: string) => boolean = () => true,
): Promise<Sending[]> {
  if (!isDirectory(path)) return [{ path, name }];
  const files = (await localFolder(path).list())!.filter(takes).toSorted();
  return files.map((file) => ({
    path: join(path, file),
    name: `${name}/${file}`,
  }));
}

/** Like `sendingsOf`, with subfolders. Errors: `invalid_name`, before any is sent */
export async function allSendingsOf(
  path: string,
  name: string,
): Promise<Sending[]> {
  const all = await sendingsBelow(path, name, []);
  if (all.length === 0)
    throw new AppError(
      "file_not_found",
      `Expected a file, or a directory with at least one file, got none in ${path}`,
    );
  for (const sending of all) checkFileName(sending.name);
  return all;
}

async function sendingsBelow(
  path: string,
  name: string,
  around: readonly string[],
): Promise<Sending[]> {
  const own = await sendingsOf(path, name);
  if (!isDirectory(path)) return own;
  const real = await realpath(path);
  if (around.includes(real))
    throw new AppError(
      "file_not_found",
      `Expected no link from a directory to one that contains it, got ${path}`,
    );
  const folders = (await localFolder(path).folders!()).toSorted();
  for (const folder of folders)
    own.push(
      ...(await sendingsBelow(join(path, folder), `${name}/${folder}`, [
        ...around,
        real,
      ])),
    );
  return own;
}

/** Uploads in sequence, each file in parallel parts. */
export async function sendFiles(
  edge: Mxfp4Edge,
  sendings: readonly Sending[],
  folder: string,
  bar: Bar,
): Promise<Sent> {
  const statuses = await Promise.all(
    sendings.map(({ path }) =>
      stat(path).catch((cause: unknown) => {
        throw notReadable(path, cause);
      }),
    ),
  );
  const present = new Map(
    (await listAll(edge, folder)).map((entry) => [entry.name, entry]),
  );
  const bytes = statuses.reduce((sum, { size }) => sum + size, 0);
  bar.begin(bytes);
  let skipped = 0;
  for (const [i, { path, name }] of sendings.entries()) {
    const { size, mtimeMs } = statuses[i]!;
    const there = present.get(name);
    let told = 0;
    const tell = (sent: number) => {
      bar.add(sent - told);
      told = sent;
    };
    // Same rule as rsync: equal size, and stored after the last local change.
    if (there?.bytes === size && there.storedMs > mtimeMs) {
      skipped++;
      bar.skip(size);
      continue;
    }
    await edge.putFile(name, await fileBlob(path), { onProgress: tell });
    tell(size);
  }
  return { files: sendings.length, bytes, present: skipped };
}

/** All files whose names have this prefix. */
export async function listAll(
  edge: Mxfp4Edge,
  prefix: string,
): Promise<FileEntry[]> {
  const all: FileEntry[] = [];
  for (let cursor: string | undefined; ;) {
    const told = cursor === undefined ? {} : { cursor };
    const page = await edge.files({ prefix, limit: 1000, ...told });
    all.push(...page.files);
    if (page.next === null) return all;
    cursor = page.next;
  }
}

/** What an edge has under a name: the file, or the files of the folder. Errors: `file_not_found` */
export async function filesOf(
  edge: Mxfp4Edge,
  name: string,
): Promise<{ isFolder: boolean; entries: readonly FileEntry[] }> {
  const found = await listAll(edge, name);
  const file = found.find((entry) => entry.name === name);
  if (file) return { isFolder: false, entries: [file] };
  const entries = found.filter((entry) => entry.name.startsWith(`${name}/`));
  if (entries.length > 0) return { isFolder: true, entries };
  throw new AppError(
    "file_not_found",
    `Expected a file or a folder of the edge, got "${name}"`,
  );
}
