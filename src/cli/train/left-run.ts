/**
 * Finds the interrupted run that a command continues: one that the same command started. The same rule for local and
 * remote edges.
 */
import { subfolders } from "../../local/folders.ts";
import { isMarked } from "../../local/processes.ts";
import { checkFree, told } from "./kept-place.ts";
import { type KeptFiles, keptFilesIn, noteBeside } from "./kept-runs.ts";
import { lastRunNote } from "./last-run.ts";
import type { TrainOptions } from "./options.ts";
import {
  checkFollower,
  differences,
  madeBy,
  readNote,
  type Unfinished,
} from "./unfinished.ts";

/**
 * Undefined to start a new run. `isAsked` (--resume): any run that was interrupted on this machine's edge. Errors:
 * there is none, or the place has another run's files
 */
export function leftRun(
  options: TrainOptions,
  isAsked: boolean,
): Unfinished | undefined {
  const { kept: place, stateFolder } = options;
  const files = "files" in place ? place.files : undefined;
  const all = options.remote
    ? elsewhere(options.runs, files)
    : [readNote(lastRunNote(stateFolder))].filter((note) => note !== undefined);
  if (isAsked) {
    if (all[0]) return all[0];
    throw new Error(
      `Expected --resume with an interrupted run in ${stateFolder}, or with --from, got neither`,
    );
  }
  const made = madeBy(options);
  const isThere = ({ kept }: Unfinished) =>
    kept.checkpoint === files?.checkpoint;
  const there = all.find(isThere);
  checkFollower(there?.process, told(place));
  const left = all.find(
    (each) =>
      each.made === made &&
      (files === undefined || isThere(each)) &&
      !(each.process !== undefined && isMarked(each.process)),
  );
  if (left) return left;
  if (there && !place.force) {
    throw new Error(
      `Expected ${told(place)} to be new, or the options of its interrupted run, to continue that: ${differences(there.made, made)}; --force starts another run`,
    );
  }
  checkFree(place);
  return undefined;
}

/** Notes of runs on remote edges: of one place, or of all folders in `runs`. */
function elsewhere(runs: string, files: KeptFiles | undefined): Unfinished[] {
  const places = files
    ? [files]
    : subfolders(runs).map((folder) => keptFilesIn(folder));
  return places
    .map((kept) => readNote(noteBeside(kept)))
    .filter((note) => note !== undefined);
}
