/** What keeps local runtimes from outliving the command that started them. */
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const GUARD = join(import.meta.dirname, "guarded-workerd.sh");

/**
 * Let every Miniflare of this process run workerd under its guard, which notes pids in the state
 * folder. Windows has no shell for the guard; there, only a regular end cleans up.
 */
export function guardRuntimes(stateFolder: string): void {
  if (process.platform === "win32") return;
  const pids = resolve(stateFolder, "pids");
  mkdirSync(pids, { recursive: true });
  const miniflare = createRequire(
    createRequire(import.meta.url).resolve("miniflare"),
  );
  const workerd = miniflare("workerd") as { default: string };
  process.env.MXFP4_EDGE_PIDS = pids;
  process.env.MXFP4_EDGE_WORKERD = workerd.default;
  process.env.MINIFLARE_WORKERD_PATH = GUARD;
}

/** End the runtimes, and remove the temporary folders, of processes that are no more. */
export function endStale(stateFolder: string): void {
  for (const pid of numbersIn(join(stateFolder, "pids"))) {
    const note = join(stateFolder, "pids", `${pid}`);
    const parent = pidIn(note);
    if (parent === undefined || isAlive(parent)) continue;
    if (commandOf(pid).includes("workerd")) process.kill(pid, "SIGKILL");
    rmSync(note, { force: true });
  }
  for (const pid of numbersIn(join(stateFolder, "tmp"))) {
    if (isAlive(pid)) continue;
    rmSync(join(stateFolder, "tmp", `${pid}`), {
      recursive: true,
      force: true,
    });
  }
}

/**
 * Make this process the only one that serves from the state folder: two runtimes on the same
 * database files would spoil them. Returns what gives it back.
 */
export function lock(stateFolder: string): () => void {
  const file = join(stateFolder, "edge.pid");
  const owner = pidIn(file);
  if (
    owner !== undefined &&
    isAlive(owner) &&
    commandOf(owner).includes("node")
  ) {
    throw new Error(
      `Expected ${stateFolder} to be free, but process ${owner} serves from it; end that one first`,
    );
  }
  writeFileSync(file, `${process.pid}`);
  return () => rmSync(file, { force: true });
}

function numbersIn(folder: string): number[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** What a note says; undefined where it is gone, as when its guard removes it at this moment. */
function pidIn(note: string): number | undefined {
  try {
    return Number(readFileSync(note, "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"; // alive, but another user's
  }
}

/** The command line of a process, "" for one that is no more. */
function commandOf(pid: number): string {
  try {
    if (process.platform === "linux")
      return readFileSync(`/proc/${pid}/cmdline`, "utf8");
    return execFileSync("ps", ["-o", "command=", "-p", `${pid}`], {
      encoding: "utf8",
    });
  } catch {
    return ""; // no such process, or no way to tell: then it is not ours to end
  }
}
