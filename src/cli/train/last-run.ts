/**
 * What the run before has left where the next one works: its objects and its corpus. Every run's would be
 * too much, and its checkpoint is what is kept. But of a run that was killed they are all there is: it goes on
 * from there.
 */
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeRunFolder } from "./kept-runs.ts";

const STATE = ["objects", "buckets"];
/** There from a run's first step until its checkpoint is written. */
const UNFINISHED_FILE = "unfinished";

/** Where the run that is under way here is noted. */
export function lastRunNote(stateFolder: string): string {
  return join(stateFolder, UNFINISHED_FILE);
}

/** Makes room for the next run. Returns the folder in `runs` to which an unfinished one has gone. */
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
