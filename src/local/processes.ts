/** Keeps local runtimes from outliving the command that started them. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isAlive } from "./alive.ts";
import { makeFolder } from "./make-folder.ts";

const GUARD = join(import.meta.dirname, "guarded-workerd.sh");
/** A process ends within milliseconds of SIGKILL, and its ports are free. */
const GONE_MS = 2_000;

/**
 * Settings with which Miniflare starts each workerd under the guard script, which records pids in the state folder.
 * Windows has no shell for it; there, only a regular end cleans up.
 */
export function guardRuntimes(stateFolder: string): {
  unsafeRuntimeEnv?: Record<string, string>;
} {
  if (process.platform === "win32") return {};
  const pids = resolve(stateFolder, "pids");
  makeFolder(pids);
  const miniflare = createRequire(
    createRequire(import.meta.url).resolve("miniflare"),
  );
  const workerd = miniflare("workerd") as { default: string };
  // These apply to every Miniflare of this process, including others'; the folder is set for ours only.
  process.env.MINIFLARE_WORKERD_PATH = GUARD;
  process.env.MXFP4_EDGE_WORKERD = workerd.default;
  return { unsafeRuntimeEnv: { MXFP4_EDGE_PIDS: pids } };
}

/** A folder for this process's temporary files, which `endStale` removes once the process has ended. */
export function temporaryFolder(stateFolder: string): string {
  const folder = resolve(stateFolder, "tmp", ownMark());
  makeFolder(folder);
  return folder;
}

/**
 * Ends the runtimes and removes the temporary folders of processes that have ended. Afterwards the ports of those
 * runtimes are free.
 */
export async function endStale(stateFolder: string): Promise<void> {
  const ended: number[] = [];
  for (const name of namesIn(join(stateFolder, "pids"))) {
    const note = join(stateFolder, "pids", name);
    const [parent, parentStart, start] = wordsIn(note);
    const pid = Number(name);
    // An incomplete note is being written.
    if (
      start === undefined
        ? isAlive(pid)
        : isRunning(Number(parent), parentStart!)
    )
      continue;
    if (start !== undefined && isRunning(pid, start)) {
      process.kill(pid, "SIGKILL");
      ended.push(pid);
    }
    rmSync(note, { force: true });
  }
  for (const name of namesIn(join(stateFolder, "tmp"))) {
    if (isMarked(name)) continue;
    const folder = join(stateFolder, "tmp", name);
    rmSync(folder, { recursive: true, force: true });
  }
  for (let waited = 0; waited < GONE_MS && ended.some(isAlive); waited += 20) {
    await sleep(20);
  }
}

/** Identifies this process on this machine, also among later ones with the same pid. */
export function ownMark(): string {
  return `${process.pid} ${startOf(process.pid)}`.trim();
}

/** Whether the process with this mark still runs. */
export function isMarked(mark: string): boolean {
  const [pid, start = ""] = mark.split(" ");
  return isRunning(Number(pid), start);
}

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** The words of a note; none if it is gone, since its guard may be removing it. */
function wordsIn(note: string): string[] {
  try {
    return readFileSync(note, "utf8").trim().split(" ");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** Whether the pid still belongs to that process: pids are reused. */
function isRunning(pid: number, start: string): boolean {
  return isAlive(pid) && startOf(pid) === start;
}

/** Start time of a process, as the guard writes it; "" if there is no such process, or no shell. */
function startOf(pid: number): string {
  if (process.platform === "win32") return "";
  return execFileSync(GUARD, ["start-of", `${pid}`], {
    encoding: "utf8",
  }).trim();
}
