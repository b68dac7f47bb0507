/**
 * What the run before has left where the next one works: its objects and its corpus. Every run's would be
 * too much, and its checkpoint is what is kept. But of a run that was killed they are all there is.
 */
import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeRunFolder } from "./kept-runs.ts";

const STATE = ["objects", "buckets"];
/** There from a run's first step until its checkpoint is written. */
const UNFINISHED_FILE = "unfinished";

export function noteUnfinished(stateFolder: string): void {
  const file = join(stateFolder, UNFINISHED_FILE);
  if (!existsSync(file)) writeFileSync(file, "");
}

export function noteFinished(stateFolder: string): void {
  rmSync(join(stateFolder, UNFINISHED_FILE), { force: true });
}

/** Makes room for the next run. Returns the folder in `runs` to which an unfinished one has gone. */
export function clearLastRun(
  stateFolder: string,
  runs: string,
): string | undefined {
  const left = STATE.filter((name) => existsSync(join(stateFolder, name)));
  const isUnfinished = existsSync(join(stateFolder, UNFINISHED_FILE));
  const kept =
    isUnfinished && left.length > 0
      ? makeRunFolder(runs, UNFINISHED_FILE, false)
      : undefined;
  for (const name of left) {
    const path = join(stateFolder, name);
    if (kept) renameSync(path, join(kept, name));
    else rmSync(path, { recursive: true });
  }
  noteFinished(stateFolder);
  return kept;
}
