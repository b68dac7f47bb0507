/** The judges' packages, which users never install: on demand, from their own lock. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

const FOLDER = import.meta.dirname;

/** The folder of a judge's package. */
export function judge(name: string): string {
  const path = join(FOLDER, "node_modules", name);
  if (!existsSync(path)) {
    execFileSync("npm", ["ci", "--omit=optional", "--ignore-scripts"], {
      cwd: FOLDER,
      stdio: "inherit",
    });
  }
  return path;
}
