/** What a directory's model is called in what is made of it, here and by an edge. */
import { basename, resolve } from "node:path";
import { FILE_NAME, follows } from "../api/text-rules.ts";

/** The directory's own name, or "model" where that is none of a folder of an edge: the root's, one with control characters. */
export function cardName(path: string): string {
  const name = basename(resolve(path));
  return follows(FILE_NAME, name) ? name : "model";
}
