/** Where the files of a run go that a person begins, by what was typed. */
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import {
  existing,
  filesBeside,
  keptFilesIn,
  type KeptFiles,
} from "./kept-runs.ts";
import type { TrainArgs } from "./arguments.ts";

/** Where a run's files go: one place, or the first free folder of a name in `runs`. */
export type KeptPlace =
  | { files: KeptFiles; force: boolean }
  | { runs: string; name: string; isExact: boolean; force: boolean };

export function keptPlace(
  args: TrainArgs,
  { layers, width }: { layers: number; width: number },
  runs: string,
): KeptPlace {
  const { name, out, force = false } = args;
  if (out !== undefined) {
    if (name !== undefined) {
      throw new Error(
        "Expected --name, of a folder in runs/, or --out, which goes elsewhere, got both",
      );
    }
    const files = filesBeside(resolve(out));
    if (!existsSync(dirname(files.checkpoint))) {
      throw new Error(
        `Expected --out to be in a folder that exists, got ${out}`,
      );
    }
    checkFree("--out", out, files, force);
    return { files, force };
  }
  if (name !== undefined) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) {
      throw new Error(
        `Expected --name to be 1 to 64 letters, digits, ".", "_" or "-", no sign first, got "${name}"`,
      );
    }
    checkFree("--name", name, keptFilesIn(join(runs, name)), force);
    return { runs, name, isExact: true, force };
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
  const kind = args.arch === "gpt2" ? "" : `${args.arch}-`;
  const described = `${kind}${sizes}-${args.recipe}-seed${args.seed}`;
  return { runs, name: described, isExact: false, force };
}

function checkFree(
  option: string,
  value: string,
  files: KeptFiles,
  force: boolean,
): void {
  const [taken] = force ? [] : existing(files);
  if (taken === undefined) return;
  throw new Error(
    `Expected ${option} ${value} to be new, but ${taken} is there; --force overwrites it`,
  );
}
