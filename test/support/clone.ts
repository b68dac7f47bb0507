/** This tree as a stranger gets it: what is in the repository, and installed packages; nothing built. */
import { cpSync, mkdtempSync, readdirSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dirname, "../..");
/** What .gitignore keeps out of the repository. */
const MADE = ["node_modules", "build", ".mxfp4-edge", ".wrangler", ".git"];

/** The path of a folder that the test removes. */
export function cleanClone(): string {
  const folder = mkdtempSync(join(tmpdir(), "mxfp4-clone-"));
  for (const name of readdirSync(ROOT).filter((each) => !MADE.includes(each)))
    cpSync(join(ROOT, name), join(folder, name), {
      recursive: true,
      filter: (path) =>
        path !== join(ROOT, "public/docs") && !path.endsWith("node_modules"),
    });
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  return folder;
}
