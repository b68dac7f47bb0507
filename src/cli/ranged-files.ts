/** Files and folders, local or by HTTP, that are read by ranges. */
import { open, readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { AppError } from "../api/errors.ts";
import {
  checkRange,
  checkTextBytes,
  type Folder,
  type RangedFile,
} from "../checkpoints/read-heads.ts";
import { notReadable, readHandle } from "./files.ts";

export function localFolder(path: string): Folder {
  return {
    async list() {
      const entries = await entriesOf(path);
      return entries.filter(({ isFolder }) => !isFolder).map(nameOf);
    },
    async folders() {
      const entries = await entriesOf(path);
      return entries.filter(({ isFolder }) => isFolder).map(nameOf);
    },
    async text(name) {
      try {
        return await readFile(join(path, name), "utf8");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT")
          return undefined;
        throw error;
      }
    },
    open: (name) => localFile(join(path, name)),
  };
}

/** Opens each file of `reads` once. */
export async function openedFiles(
  reads: readonly { file: string }[],
  open: Folder["open"],
): Promise<ReadonlyMap<string, RangedFile>> {
  const files = new Map<string, RangedFile>();
  for (const { file } of reads)
    if (!files.has(file)) files.set(file, await open(file));
  return files;
}

type Entry = { name: string; isFolder: boolean };

const nameOf = ({ name }: Entry) => name;

/** Links are followed; a dangling link counts as a file, which does not exist. */
async function entriesOf(path: string): Promise<Entry[]> {
  const entries = await readdir(path, { withFileTypes: true });
  return Promise.all(
    entries.map(async (entry) => ({
      name: entry.name,
      isFolder: entry.isSymbolicLink()
        ? await leadsToFolder(join(path, entry.name))
        : entry.isDirectory(),
    })),
  );
}

function leadsToFolder(link: string): Promise<boolean> {
  return stat(link).then(
    (status) => status.isDirectory(),
    () => false,
  );
}

/**
 * Every read checks that the file is unchanged: mixed versions would be corrupt. Errors: `file_not_found`; on reading,
 * `file_changed`
 */
export async function localFile(path: string): Promise<RangedFile> {
  const status = await stat(path).catch((cause: unknown) => {
    throw notReadable(path, cause);
  });
  if (!status.isFile()) throw notReadable(path);
  const { size } = status;
  return {
    bytes: size,
    async read(start, end, into) {
      const handle = await open(path, "r").catch((cause: unknown) => {
        throw notReadable(path, cause);
      });
      try {
        const now = await handle.stat();
        if (
          now.ino !== status.ino ||
          now.size !== size ||
          now.mtimeMs !== status.mtimeMs
        )
          throw new AppError(
            "file_changed",
            `Expected ${path} not to change while it is read, but it was modified or replaced`,
          );
        return await readHandle(handle, start, end - start, into);
      } finally {
        await handle.close();
      }
    },
  };
}

/** Opens files in the folder of `path`, itself included. */
export function localBeside(path: string): Folder["open"] {
  const [folder, own] = [dirname(path), basename(path)];
  return (name) => localFile(name === own ? path : join(folder, name));
}

/** A folder at a URL, such as a model's `…/resolve/main/`; it cannot be listed. */
export function remoteFolder(url: string, token: string | undefined): Folder {
  // A name may contain characters with a meaning in URLs.
  const at = (name: string) => new URL(encodeURIComponent(name), url).href;
  return {
    list: () => Promise.resolve(undefined),
    async text(name) {
      const response = await request(at(name), token);
      if (response.status === 404) {
        await response.body?.cancel();
        return undefined;
      }
      if (!response.ok) throw await refused(at(name), response);
      return wholeText(at(name), response);
    },
    open: (name) => remoteFile(at(name), token),
  };
}

/** Counted as it arrives: its length may be missing, or that of compressed bytes. Errors: `body_too_large` */
async function wholeText(url: string, response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let [text, bytes] = ["", 0];
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    checkTextBytes(url, bytes);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** Errors: `file_not_found` for a URL that does not support ranges */
export async function remoteFile(
  url: string,
  token: string | undefined,
): Promise<RangedFile> {
  const [, first] = await range(url, 0, 1, token);
  return {
    bytes: first,
    async read(start, end) {
      if (start === end) return new Uint8Array(0);
      const [bytes] = await range(url, start, end, token);
      return checkRange(bytes, start, end);
    },
  };
}

async function range(
  url: string,
  start: number,
  end: number,
  token: string | undefined,
): Promise<[bytes: Uint8Array, total: number]> {
  const response = await request(url, token, `bytes=${start}-${end - 1}`);
  const told = /^bytes \d+-\d+\/(\d+)$/.exec(
    response.headers.get("Content-Range") ?? "",
  );
  // A whole file instead of a part may be gigabytes.
  if (response.status !== 206 || !told) throw await refused(url, response);
  return [new Uint8Array(await response.arrayBuffer()), Number(told[1])];
}

function request(
  url: string,
  token: string | undefined,
  bytes?: string,
): Promise<Response> {
  const headers = new Headers();
  if (token !== undefined) headers.set("Authorization", `Bearer ${token}`);
  if (bytes !== undefined) headers.set("Range", bytes);
  return fetch(url, { headers }).catch((cause: unknown) => {
    throw notReadable(url, cause);
  });
}

async function refused(url: string, response: Response): Promise<AppError> {
  await response.body?.cancel();
  return new AppError(
    "file_not_found",
    `Expected a part of ${url} with status 206, got ${response.status}`,
  );
}
