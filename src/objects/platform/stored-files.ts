/** Files and folders in the bucket, which callers upload and jobs read and write. A folder consists of its files. */

import { FILES_PREFIX } from "../../api/text-rules.ts";

/** The most keys that one call to R2 can delete. */
const MAX_KEYS = 1000;

/** A file's key in the bucket. */
export function fileKey(name: string): string {
  return `${FILES_PREFIX}${name}`;
}

/** The file name of a key. */
export function nameOfKey(key: string): string {
  return key.slice(FILES_PREFIX.length);
}

/** The file name without its folders. */
export function lastOf(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

/** The files directly in a folder, by their names in it; `folders` are its subfolders, whose files are not included. */
export function inFolder(
  folder: string,
  found: readonly R2Object[],
): { files: Map<string, R2Object>; folders: string[] } {
  const files = new Map<string, R2Object>();
  const folders = new Set<string>();
  for (const object of found) {
    const name = object.key.slice(fileKey(`${folder}/`).length);
    const [first, ...deeper] = name.split("/");
    if (deeper.length > 0) folders.add(first!);
    // Some tools put an empty file without a name into each folder.
    else if (name !== "") files.set(name, object);
  }
  return { files, folders: [...folders] };
}

/** All files in a folder and its subfolders, by name; empty if there is no such folder. */
export async function filesIn(
  bucket: R2Bucket,
  folder: string,
): Promise<R2Object[]> {
  const found: R2Object[] = [];
  for (let cursor: string | undefined; ;) {
    const page = await bucket.list({
      prefix: fileKey(`${folder}/`),
      include: ["customMetadata"],
      ...(cursor !== undefined && { cursor }),
    });
    found.push(...page.objects);
    if (!page.truncated) return found;
    cursor = page.cursor;
  }
}

/** Whether a folder of this name exists. */
export async function isFolder(
  bucket: R2Bucket,
  name: string,
): Promise<boolean> {
  const prefix = fileKey(`${name}/`);
  return (await bucket.list({ prefix, limit: 1 })).objects.length > 0;
}

/** Idempotent, also if interrupted. */
export async function removeFiles(
  bucket: R2Bucket,
  files: readonly R2Object[],
): Promise<void> {
  const keys = files.map(({ key }) => key);
  for (let at = 0; at < keys.length; at += MAX_KEYS)
    await bucket.delete(keys.slice(at, at + MAX_KEYS));
}
