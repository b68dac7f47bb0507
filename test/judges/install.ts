/** The judges' packages, which users never install: on demand, from their own lock. */
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

const FOLDER = import.meta.dirname;
/** Holds the lock file that was installed, once that is complete. */
const STAMP = join(FOLDER, "node_modules/.installed-lock.json");
/** Exists while a process installs: tests run side by side. */
const INSTALLING = join(FOLDER, "../../build/installing-judges");
/**
 * Not `npm ci`, which refuses a lock without the packages of other platforms, which a registry may
 * lack. The versions are the lock's all the same.
 *
 * package.json overrides onnxruntime-web, which the packages with models depend on, by its interface
 * alone: nothing here runs those models, and the runtime is larger than all the rest.
 */
const INSTALL = ["install", "--no-save", "--omit=optional", "--ignore-scripts"];
const STALE_MS = 5 * 60_000;

/** The folder of a judge's package. */
export function judge(name: string): string {
  while (!isInstalled()) {
    if (enter()) install();
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  }
  return join(FOLDER, "node_modules", name);
}

function isInstalled(): boolean {
  const lock = readFileSync(join(FOLDER, "package-lock.json"), "utf8");
  return existsSync(STAMP) && readFileSync(STAMP, "utf8") === lock;
}

/** Whether this process is the one to install. */
function enter(): boolean {
  try {
    mkdirSync(INSTALLING);
    return true;
  } catch {
    // Another one is at it, or was: one that died leaves its mark.
    const since = statSync(INSTALLING, { throwIfNoEntry: false })?.mtimeMs;
    if (since !== undefined && Date.now() - since > STALE_MS)
      rmSync(INSTALLING, { recursive: true, force: true });
    return false;
  }
}

function install(): void {
  try {
    if (isInstalled()) return;
    execFileSync("npm", INSTALL, {
      cwd: FOLDER,
      stdio: ["ignore", "ignore", "inherit"],
    });
    const lock = readFileSync(join(FOLDER, "package-lock.json"), "utf8");
    writeFileSync(STAMP, lock);
  } finally {
    rmSync(INSTALLING, { recursive: true, force: true });
  }
}
