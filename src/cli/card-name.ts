/** The name of a directory's model in its model card, the same here and on an edge. */
import { basename, resolve } from "node:path";
import { FILE_NAME, follows } from "../api/text-rules.ts";

/**
 * The directory's name, or "model" if an edge could not have a folder of this name: the root, or control characters.
 */
export function cardName(path: string): string {
  const name = basename(resolve(path));
  return follows(FILE_NAME, name) ? name : "model";
}
