/** What keeps local runtimes from outliving the command that started them. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isAlive } from "./alive.ts";
import { makeFolder } from "./make-folder.ts";

const GUARD = join(import.meta.dirname, "guarded-workerd.sh");
/** A process that was sent SIGKILL is gone in milliseconds, its ports with it. */
const GONE_MS = 2_000;

/**
 * What a Miniflare is to be told so that each workerd that it starts runs under its guard, which notes pids
 * in the state folder. Windows has no shell for the guard; there, only a regular end cleans up.
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
  // Both for every Miniflare of this process, of which some may be others'; only ours have the folder.
  process.env.MINIFLARE_WORKERD_PATH = GUARD;
  process.env.MXFP4_EDGE_WORKERD = workerd.default;
  return { unsafeRuntimeEnv: { MXFP4_EDGE_PIDS: pids } };
}

/** A folder for this process's temporary files, which `endStale` removes once the process is gone. */
export function temporaryFolder(stateFolder: string): string {
  const folder = resolve(stateFolder, "tmp", ownMark());
  makeFolder(folder);
  return folder;
}

/**
 * End the runtimes, and remove the temporary folders, of processes that are no more. Afterwards the
 * ports of those runtimes are free.
 */
export async function endStale(stateFolder: string): Promise<void> {
  const ended: number[] = [];
  for (const name of namesIn(join(stateFolder, "pids"))) {
    const note = join(stateFolder, "pids", name);
    const [parent, parentStart, start] = wordsIn(note);
    const pid = Number(name);
    // A note without all its words is being written.
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

/** What tells this process from all others of this machine, also from a later one with its pid. */
export function ownMark(): string {
  return `${process.pid} ${startOf(process.pid)}`.trim();
}

/** Whether the process of this mark still runs. */
export function isMarked(mark: string): boolean {
  const [pid, start = ""] = mark.split(" ");
  return isRunning(Number(pid), start);
}

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** What a note says; nothing where it is gone, as when its guard removes it at this moment. */
function wordsIn(note: string): string[] {
  try {
    return readFileSync(note, "utf8").trim().split(" ");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** Whether it is that process which has the pid now: pids are given again. */
function isRunning(pid: number, start: string): boolean {
  return isAlive(pid) && startOf(pid) === start;
}

/** When a process started, as the guard writes it; "" where there is no such process, or no shell. */
function startOf(pid: number): string {
  if (process.platform === "win32") return "";
  return execFileSync(GUARD, ["start-of", `${pid}`], {
    encoding: "utf8",
  }).trim();
}
