/** The files that a job reads, from the bucket or a URL, by byte ranges. They must not change while the job runs. */
import { AppError } from "../../api/errors.ts";
import { endedEarly } from "../../formats/stream/source.ts";
import { inTime } from "../platform/long-wait.ts";
import { fileKey, filesIn, inFolder } from "../platform/stored-files.ts";
import { findUrl, shownUrl, type UrlFile, type UrlReader } from "./url-file.ts";
import { pinUrlFolder } from "./url-folder.ts";

/** An object of the bucket in a fixed version. */
export type PinnedObject = { key: string; etag: string; bytes: number };
/** A file in the bucket or at a URL; `name` is its name in its folder, or its own. */
export type PinnedFile = (PinnedObject | UrlFile) & { name: string };

/**
 * A job's source: its files (null until a URL has been queried), and whether it is a folder. `folders` are its
 * subfolders, which are not read.
 */
export type PinnedSource = {
  isFolder: boolean;
  files: PinnedFile[] | null;
  folders?: string[];
};

/** Pins the file of this name, or, if there is none, the folder. Errors: `file_not_found` */
export async function pinStored(
  bucket: R2Bucket,
  source: string,
): Promise<PinnedSource & { files: PinnedFile[] }> {
  const file = await bucket.head(fileKey(source));
  if (file) return { isFolder: false, files: [pinned(file, source)] };
  const found = await filesIn(bucket, source);
  if (found.length === 0)
    throw new AppError(
      "file_not_found",
      `Expected \`source\` to be the name of a file or a folder, got "${source}"`,
    );
  const { files, folders } = inFolder(source, found);
  const all = Array.from(files, ([name, object]) => pinned(object, name));
  return { isFolder: true, files: all, folders };
}

function pinned({ key, etag, size }: R2Object, name: string): PinnedFile {
  return { name, key, etag, bytes: size };
}

/** Pins the file at a URL, or, if it ends with a slash, the folder. Errors: `file_not_found`; `NotNow` */
export async function pinUrl(
  reader: UrlReader,
  url: string,
): Promise<PinnedFile[]> {
  if (isFolderUrl(url)) return pinUrlFolder(reader, url);
  const file = await findUrl(reader, url);
  if (file) return [{ ...file, name: shownUrl(url) }];
  throw new AppError(
    "file_not_found",
    `Expected a file at ${shownUrl(url)}, got none`,
  );
}

export function isFolderUrl(url: string): boolean {
  return new URL(url).pathname.endsWith("/");
}

/**
 * Reads bytes of a file, to `into` if given and large enough. Errors: `file_changed` if the file has another version
 */
export async function readPinned(
  bucket: R2Bucket,
  { key, etag, bytes }: PinnedObject,
  start: number,
  length: number,
  into?: ArrayBuffer,
): Promise<Uint8Array<ArrayBuffer>> {
  if (length === 0) return new Uint8Array(0);
  const what = `${length} bytes of a stored file`;
  const object = await inTime(
    what,
    bucket.get(key, {
      range: { offset: start, length },
      onlyIf: { etagMatches: etag },
    }),
  );
  if (!object || !("body" in object)) {
    throw new AppError(
      "file_changed",
      `Expected the file of ${bytes} bytes with which the job began, got ${object ? "another version" : "none"}`,
    );
  }
  return inTime(what, readInto(object.body, length, into));
}

/** Reads the first `length` bytes of a body. Errors: `malformed_body` if there are fewer */
async function readInto(
  body: ReadableStream<Uint8Array>,
  length: number,
  into: ArrayBuffer | undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  const buffer =
    into && into.byteLength >= length ? into : new ArrayBuffer(length);
  const reader = body.getReader({ mode: "byob" });
  const view = new Uint8Array(buffer, 0, length);
  const { value } = await reader.readAtLeast(length, view);
  if (value?.length !== length) throw endedEarly(length, value?.length ?? 0);
  return value as Uint8Array<ArrayBuffer>;
}
