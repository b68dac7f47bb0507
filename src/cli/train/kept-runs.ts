/**
 * What local runs leave, by name: `runs/<name>/` with the checkpoint, and the metrics beside it. Nothing
 * here is overwritten or removed unless a person asks.
 */
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { called } from "../called.ts";
import { makeFolder } from "../../local/make-folder.ts";
import { IS_CLONE, STATE_FOLDER } from "../../local/places.ts";
import { basename, dirname, extname, join, resolve } from "node:path";
import { UsageError } from "../file-arguments.ts";

const CHECKPOINT = "checkpoint.safetensors";
const METRICS = "metrics.jsonl";
const NOTE = "unfinished.json";
/** From here on a person is told how much there is, and how it goes. */
const MANY_BYTES = 2 ** 30;
const MANY_RUNS = 10;

export type KeptFiles = { checkpoint: string; metrics: string };

/** Where a state folder keeps its runs. */
export function runsFolder(stateFolder: string): string {
  return resolve(stateFolder, "runs");
}

/** Makes the folder of a run, of the first free name that begins so. */
export function makeRunFolder(runs: string, name: string): string {
  makeFolder(runs);
  for (let count = 1; ; count++) {
    const folder = join(runs, count === 1 ? name : `${name}-${count}`);
    try {
      mkdirSync(folder);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      continue;
    }
    return folder;
  }
}

/** The same files for a checkpoint that goes elsewhere. */
export function filesBeside(checkpoint: string): KeptFiles {
  const name = basename(checkpoint, extname(checkpoint));
  const metrics = join(dirname(checkpoint), `${name}.${METRICS}`);
  return { checkpoint, metrics };
}

/** Which of them are there: what a run under this name would overwrite. */
export function existing({ checkpoint, metrics }: KeptFiles): string[] {
  return [checkpoint, metrics].filter((file) => existsSync(file));
}

/** Where a run that is under way on an edge elsewhere is noted. */
export function noteBeside({ metrics }: KeptFiles): string {
  return metrics.slice(0, -METRICS.length) + NOTE;
}

export function keptFilesIn(folder: string): KeptFiles {
  return {
    checkpoint: join(folder, CHECKPOINT),
    metrics: join(folder, METRICS),
  };
}

/** The one that operands name, or the one that was written last. */
export function keptCheckpoint(operands: string[]): string {
  if (operands.length > 1)
    throw new UsageError(`Expected one checkpoint, got ${operands.length}`);
  const [asked] = operands;
  const file = asked ?? latestCheckpoint(runsFolder(STATE_FOLDER));
  if (file === undefined) {
    throw new Error(
      `Expected a checkpoint, got none, and none is kept yet: \`${called("train")}\` writes one`,
    );
  }
  return resolve(file);
}

/** The checkpoint that was written last; undefined where there is none. */
function latestCheckpoint(runs: string): string | undefined {
  const times = folders(runs)
    .map((folder) => keptFilesIn(folder).checkpoint)
    .filter((file) => existsSync(file))
    .map((file) => ({ file, time: statSync(file).mtimeMs }));
  return times.sort((a, b) => b.time - a.time)[0]?.file;
}

/** A line about how much is kept, once that is much. */
export function growthNotice(runs: string): string | undefined {
  const kept = folders(runs);
  const bytes = kept.reduce((sum, folder) => sum + bytesIn(folder), 0);
  if (kept.length <= MANY_RUNS && bytes <= MANY_BYTES) return undefined;
  return `${kept.length} runs are kept, ${megabytes(bytes)}, in ${runs}${IS_CLONE ? "; `npm run clean -- --checkpoints` removes them" : ""}`;
}

/** The folder of each run. */
export function folders(runs: string): string[] {
  if (!existsSync(runs)) return [];
  return readdirSync(runs, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(runs, name));
}

/** Of a file, or of all files in a folder. */
export function bytesIn(path: string): number {
  const { size } = statSync(path);
  if (!statSync(path).isDirectory()) return size;
  return readdirSync(path)
    .map((name) => bytesIn(join(path, name)))
    .reduce((sum, bytes) => sum + bytes, 0);
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
