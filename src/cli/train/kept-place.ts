/** Where a run's files are kept, by typed options. */
import { existsSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import pc from "picocolors";
import { checkWritable, makeFolder } from "../../local/make-folder.ts";
import { UsageError } from "../file-arguments.ts";
import { checkNamedFor } from "../output-kind.ts";
import {
  existing,
  filesBeside,
  keptFilesIn,
  type KeptFiles,
  makeRunFolder,
  noteBeside,
} from "./kept-runs.ts";
import type { TrainArgs } from "./arguments.ts";
import { DEFAULT_ARCHITECTURE } from "../../api/run-config.ts";

/** The place that an option names, or the first free folder of a name in `runs`. */
export type KeptPlace =
  | { told: `--${"name" | "out"} ${string}`; files: KeptFiles; force: boolean }
  | { runs: string; name: string; force: boolean };

export function keptPlace(
  args: TrainArgs,
  { layers, width }: { layers: number; width: number },
  runs: string,
): KeptPlace {
  const { name, out, force = false } = args;
  if (out !== undefined) {
    if (name !== undefined) {
      throw new UsageError("Expected --name or --out, got both");
    }
    checkNamedFor(out, "safetensors", {}, "--out");
    const files = filesBeside(resolve(out));
    if (!existsSync(dirname(files.checkpoint))) {
      throw new Error(`Expected --out to be in an existing folder, got ${out}`);
    }
    return { told: `--out ${out}`, files, force };
  }
  if (name !== undefined) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) {
      throw new UsageError(
        `Expected --name to be 1 to 64 letters, digits, ".", "_" or "-", the first a letter or digit, got "${name}"`,
      );
    }
    const files = keptFilesIn(join(runs, name));
    return { told: `--name ${name}`, files, force };
  }
  const isPreset = [
    args.from,
    args.layers,
    args.width,
    args.heads,
    args.context,
    args.groups,
    args.hidden,
    args["head-norm"],
  ].every((size) => size === undefined);
  const sizes = isPreset ? args.preset : `${layers}x${width}`;
  const kind = args.arch === DEFAULT_ARCHITECTURE ? "" : `${args.arch}-`;
  const described = `${kind}${sizes}-${args.recipe}-seed${args.seed}`;
  return { runs, name: described, force };
}

/** How messages refer to it. */
export function told(place: KeptPlace): string {
  return "told" in place ? place.told : place.name;
}

/** Errors: the files exist, and --force was not given */
export function checkFree(place: KeptPlace): void {
  if (place.force || !("files" in place)) return;
  const [taken] = existing(place.files);
  if (taken === undefined) return;
  throw new Error(
    `Expected ${place.told} to be new, but ${taken} exists; --force overwrites it`,
  );
}

/** Called before anything begins. Errors: the place is not writable */
export function checkPlace(place: KeptPlace): void {
  checkWritable(
    "files" in place ? dirname(place.files.checkpoint) : place.runs,
  );
}

/** Prepares the place; `report` receives a line for each file that will be overwritten. */
export function keepFiles(
  place: KeptPlace,
  report: (line: string) => void,
): KeptFiles {
  if (!("files" in place))
    return keptFilesIn(makeRunFolder(place.runs, place.name));
  const { files, force } = place;
  for (const file of existing(files)) {
    if (!force) {
      throw new Error(
        `Expected ${file} to be new, but it was created since the start; --force overwrites it`,
      );
    }
    report(pc.yellow(`overwrites ${file}`));
  }
  makeFolder(dirname(files.checkpoint));
  return files;
}

/** Undoes `keepFiles` for a run that did not start or is left to the edge: removes its folder if empty. */
export function keepNothing(place: KeptPlace, kept: KeptFiles): void {
  rmSync(noteBeside(kept), { force: true });
  const folder = dirname(kept.checkpoint);
  const isOwn = !("files" in place) || place.told.startsWith("--name ");
  if (isOwn && readdirSync(folder).length === 0) rmdirSync(folder);
}
