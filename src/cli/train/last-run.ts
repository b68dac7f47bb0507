/**
 * What the run before has left where the next one works: its objects and its corpus. Every run's would be
 * too much, and its checkpoint is what is kept. But of a run that was killed they are all there is: it goes on
 * from there.
 */
import {
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type KeptFiles, makeRunFolder } from "./kept-runs.ts";

const STATE = ["objects", "buckets"];
/** There from a run's first step until its checkpoint is written. */
const UNFINISHED_FILE = "unfinished";

/** A run that is under way. */
export type Unfinished = {
  run: string;
  kept: KeptFiles;
  /** What it was made by: the same again is the same run. */
  made: string;
};

/** It appears whole. */
export function noteUnfinished(stateFolder: string, run: Unfinished): void {
  const file = join(stateFolder, UNFINISHED_FILE);
  if (existsSync(file)) return;
  writeFileSync(`${file}.partial`, JSON.stringify(run));
  renameSync(`${file}.partial`, file);
}

export function noteFinished(stateFolder: string): void {
  rmSync(join(stateFolder, UNFINISHED_FILE), { force: true });
}

/** The run that was killed, if there is one. */
export function findUnfinished(stateFolder: string): Unfinished | undefined {
  const file = join(stateFolder, UNFINISHED_FILE);
  // An earlier release noted no more than that there is one.
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  return text === "" ? undefined : (JSON.parse(text) as Unfinished);
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
