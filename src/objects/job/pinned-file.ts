/** What a job reads, here or elsewhere: files that must stay as they were when it began, by ranges of their bytes. */
import { AppError } from "../../api/errors.ts";
import { endedEarly } from "../../formats/stream/source.ts";
import { fileKey, filesIn, inFolder } from "../platform/stored-files.ts";
import { findUrl, shownUrl, type UrlFile, type UrlReader } from "./url-file.ts";
import { pinUrlFolder } from "./url-folder.ts";

/** An object that must stay as it was. */
export type PinnedObject = { key: string; etag: string; bytes: number };
/** In the bucket or elsewhere, known by a name: that in its folder, or its own. */
export type PinnedFile = (PinnedObject | UrlFile) & { name: string };

/**
 * What a job reads, null until somebody else has told of it, and whether it is a folder; `folders` are
 * those in it, which are not read.
 */
export type PinnedSource = {
  isFolder: boolean;
  files: PinnedFile[] | null;
  folders?: string[];
};

/** The file of this name, or where there is none the folder. Errors: `file_not_found` */
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

/** What is at a URL: a file, or where it ends with a slash a folder. Errors: `file_not_found`; `NotNow` */
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
 * Bytes of a file, in `into` if it is given and has room for them.
 * Errors: `file_changed` for another version than was pinned
 */
export async function readPinned(
  bucket: R2Bucket,
  { key, etag, bytes }: PinnedObject,
  start: number,
  length: number,
  into?: ArrayBuffer,
): Promise<Uint8Array<ArrayBuffer>> {
  if (length === 0) return new Uint8Array(0);
  const object = await bucket.get(key, {
    range: { offset: start, length },
    onlyIf: { etagMatches: etag },
  });
  if (!object || !("body" in object)) {
    throw new AppError(
      "file_changed",
      `Expected the file of ${bytes} bytes that the job began with, got ${object ? "another" : "none"}`,
    );
  }
  return readInto(object.body, length, into);
}

/** The first `length` bytes of a body. Errors: `malformed_body` where there are fewer */
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
