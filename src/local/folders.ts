/** Questions about local folders. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** Whether `path` is a folder, or a link to one. */
export function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** Paths of the folders in `parent`; none if it does not exist. */
export function subfolders(parent: string): string[] {
  if (!existsSync(parent)) return [];
  return readdirSync(parent, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(parent, name));
}
