/**
 * Files kept of local runs, by name: `runs/<name>/` with checkpoint and metrics. Never overwritten or removed without a
 * request.
 */
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { called } from "../called.ts";
import { subfolders } from "../../local/folders.ts";
import { makeFolder } from "../../local/make-folder.ts";
import { IS_CLONE, STATE_FOLDER } from "../../local/places.ts";
import { basename, dirname, extname, join, resolve } from "node:path";
import { UsageError } from "../file-arguments.ts";

const CHECKPOINT = "checkpoint.safetensors";
const METRICS = "metrics.jsonl";
const NOTE = "unfinished.json";
/** From here on a notice says how much is kept, and how to remove it. */
const MANY_BYTES = 2 ** 30;
const MANY_RUNS = 10;

export type KeptFiles = { checkpoint: string; metrics: string };

/** Folder of a state folder's runs. */
export function runsFolder(stateFolder: string): string {
  return resolve(stateFolder, "runs");
}

/** Creates a run's folder, with the first free name that begins with `name`. */
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

/** The files for a checkpoint at another path. */
export function filesBeside(checkpoint: string): KeptFiles {
  const name = basename(checkpoint, extname(checkpoint));
  const metrics = join(dirname(checkpoint), `${name}.${METRICS}`);
  return { checkpoint, metrics };
}

/** Those that exist, and would be overwritten. */
export function existing({ checkpoint, metrics }: KeptFiles): string[] {
  return [checkpoint, metrics].filter((file) => existsSync(file));
}

/** The note of a running run on a remote edge. */
export function noteBeside({ metrics }: KeptFiles): string {
  return metrics.slice(0, -METRICS.length) + NOTE;
}

export function keptFilesIn(folder: string): KeptFiles {
  return {
    checkpoint: join(folder, CHECKPOINT),
    metrics: join(folder, METRICS),
  };
}

/** The given checkpoint, or the latest one. */
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

/** The latest checkpoint; undefined if there is none. */
function latestCheckpoint(runs: string): string | undefined {
  const times = subfolders(runs)
    .map((folder) => keptFilesIn(folder).checkpoint)
    .filter((file) => existsSync(file))
    .map((file) => ({ file, time: statSync(file).mtimeMs }));
  return times.sort((a, b) => b.time - a.time)[0]?.file;
}

/** A notice if many runs are kept. */
export function growthNotice(runs: string): string | undefined {
  const kept = subfolders(runs);
  const bytes = kept.reduce((sum, folder) => sum + bytesIn(folder), 0);
  if (kept.length <= MANY_RUNS && bytes <= MANY_BYTES) return undefined;
  return `${kept.length} runs are kept, ${megabytes(bytes)}, in ${runs}${IS_CLONE ? "; `npm run clean -- --checkpoints` removes them" : ""}`;
}

/** Bytes of a file, or of all files in a folder. */
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
