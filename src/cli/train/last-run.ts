/**
 * Removes the previous run's objects and dataset from the training state folder: only its checkpoint is kept. For an
 * interrupted run, they are all there is, and are moved to a folder of their own.
 */
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeRunFolder } from "./kept-runs.ts";

const STATE = ["objects", "buckets"];
/** Exists from a run's first step until its checkpoint is written. */
const UNFINISHED_FILE = "unfinished";

/** The note of this machine's running run. */
export function lastRunNote(stateFolder: string): string {
  return join(stateFolder, UNFINISHED_FILE);
}

/** Makes room for the next run. Returns the folder in `runs` to which an interrupted run was moved. */
export function clearLastRun(
  stateFolder: string,
  runs: string,
): string | undefined {
  const left = STATE.filter((name) => existsSync(join(stateFolder, name)));
  const isUnfinished = existsSync(lastRunNote(stateFolder));
  const kept =
    isUnfinished && left.length > 0
      ? makeRunFolder(runs, UNFINISHED_FILE)
      : undefined;
  for (const name of left) {
    const path = join(stateFolder, name);
    if (kept) renameSync(path, join(kept, name));
    else rmSync(path, { recursive: true });
  }
  rmSync(lastRunNote(stateFolder), { force: true });
  return kept;
}
