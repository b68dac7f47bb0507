/** Files and folders of the bucket, which callers put and jobs read and write. A folder is its files. */

import { FILES_PREFIX } from "../../api/text-rules.ts";

/** How many keys one call to R2 may delete. */
const MAX_KEYS = 1000;

/** Where files are in the bucket. */
export function fileKey(name: string): string {
  return `${FILES_PREFIX}${name}`;
}

/** The file's name that a key says. */
export function nameOfKey(key: string): string {
  return key.slice(FILES_PREFIX.length);
}

/** The file's name without those of the folders that it lies in. */
export function lastOf(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

/**
 * The files that lie in a folder itself, by their names in it; `folders` are those in it, whose files are
 * not among them.
 */
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
    // Some put an empty file of no name into each folder.
    else if (name !== "") files.set(name, object);
  }
  return { files, folders: [...folders] };
}

/** What is in a folder and those in it, by name; nothing where there is none. */
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

/** Whether there is a folder of the name. */
export async function isFolder(
  bucket: R2Bucket,
  name: string,
): Promise<boolean> {
  const prefix = fileKey(`${name}/`);
  return (await bucket.list({ prefix, limit: 1 })).objects.length > 0;
}

/** Repeating it, also half done, does no harm. */
export async function removeFiles(
  bucket: R2Bucket,
  files: readonly R2Object[],
): Promise<void> {
  const keys = files.map(({ key }) => key);
  for (let at = 0; at < keys.length; at += MAX_KEYS)
    await bucket.delete(keys.slice(at, at + MAX_KEYS));
}
