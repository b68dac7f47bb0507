/**
 * `npm run clean`: remove what the commands made. It tells what would go and asks first; checkpoints go
 * only where they are named.
 */
import { existsSync, readdirSync, rmSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { createInterface } from "node:readline/promises";
import { LOCK_FILE, lockFolder } from "../local/lock.ts";
import { endStale } from "../local/processes.ts";
import { STATE_FOLDER } from "../local/places.ts";
import { bytesIn, megabytes, runsFolder } from "../cli/train/kept-runs.ts";
import { ROOT } from "./build/target.ts";
import { runScript } from "./script.ts";
import { flag } from "../cli/argument.ts";
import { UsageError } from "../cli/file-arguments.ts";

/** What an edge keeps in its state folder. Anything else there is a person's, and stays. */
const STATE = /^(objects|buckets|pids|tmp|unfinished|edge\.pid|.*\.log)$/;

await runScript({
  meta: {
    name: "npm run clean --",
    description:
      "Remove builds and the state of local edges: runs, datasets, files. Checkpoints are kept",
  },
  args: {
    yes: flag("Do not ask for confirmation"),
    checkpoints: flag("Remove checkpoints and metrics of kept runs too"),
  },
  async run({ args }) {
    const folders = servedFolders();
    // A run that was killed is kept with its state, and an edge may have served that.
    const runs = join(runsFolder(STATE_FOLDER), "/");
    const places = [
      join(ROOT, "build"),
      ...folders
        .filter((folder) => !folder.startsWith(runs))
        .flatMap((folder) => entries(folder, (name) => STATE.test(name))),
    ].filter((path) => existsSync(path));
    const kept = [...new Set([STATE_FOLDER, ...folders])].flatMap(
      checkpointsIn,
    );
    const doomed = args.checkpoints ? [...places, ...kept] : places;
    if (doomed.length === 0) {
      console.log("nothing to remove");
    } else {
      console.log("removes:");
      for (const path of doomed) console.log(`  ${described(path)}`);
    }
    if (!args.checkpoints && kept.length > 0) {
      console.log("keeps, without --checkpoints:");
      for (const path of kept) console.log(`  ${described(path)}`);
    }
    if (doomed.length === 0) return;
    if (!args.yes && !(await isWanted())) {
      throw new Error("Nothing was removed");
    }
    // Not under a process that serves. The lock's file stays: see src/local/lock.ts.
    const locks = await Promise.all(folders.map(lockFolder));
    for (const folder of folders) await endStale(folder);
    for (const path of doomed) rmSync(path, { recursive: true, force: true });
    for (const lock of locks) lock.release();
    console.log("removed");
  },
});

/** Answered in a terminal; elsewhere nobody can say yes. Errors: `UsageError` */
async function isWanted(): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stdout.isTTY) {
    throw new UsageError(
      "Expected --yes where there is no terminal to ask in; nothing was removed",
    );
  }
  const terminal = createInterface(process.stdin, process.stdout);
  const answer = await terminal.question("Remove them? [y/N] ");
  terminal.close();
  return /^y(es)?$/i.test(answer.trim());
}

/** The folders from which an edge serves, or has served: `npm run train` has one of its own. */
function servedFolders(): string[] {
  if (!existsSync(STATE_FOLDER)) return [];
  const all = readdirSync(STATE_FOLDER, {
    recursive: true,
    withFileTypes: true,
  });
  const served = all
    // `pids` is where one has served that was from before there was a lock's file.
    .filter(({ name }) => name === LOCK_FILE || name === "pids")
    .map(({ parentPath }) => parentPath);
  return [...new Set(served)];
}

function checkpointsIn(folder: string): string[] {
  const runs = runsFolder(folder);
  return [
    ...entries(runs, () => true),
    ...entries(folder, (name) => name.endsWith(".safetensors")),
  ];
}

function entries(folder: string, isMeant: (name: string) => boolean): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter(isMeant)
    .map((name) => join(folder, name));
}

function described(path: string): string {
  const shown = relative(process.cwd(), path) || basename(path);
  return `${shown} (${megabytes(bytesIn(path))})`;
}
