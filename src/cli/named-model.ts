/** Finds a model named by the user. */
import { existsSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { CONFIG_FILE } from "../checkpoints/checkpoint.ts";
import { isDirectory, subfolders } from "../local/folders.ts";
import { STATE_FOLDER } from "../local/places.ts";
import { called } from "./called.ts";
import { notReadable } from "./files.ts";
import { Remedied } from "./next-step.ts";
import { shellWord } from "./shell-word.ts";
import { keptFilesIn, runsFolder } from "./train/kept-runs.ts";

/** How many kept runs an error lists. */
const TOLD_RUNS = 5;

/**
 * The directory or file; for a folder of a run kept by `train`, its checkpoint. Errors: `file_not_found`, with a remedy
 * that suggests existing runs for `command`
 */
export function namedModel(
  named: string,
  command: string,
  stateFolder = STATE_FOLDER,
): string {
  const { checkpoint } = keptFilesIn(named);
  const isRun = !existsSync(join(named, CONFIG_FILE)) && existsSync(checkpoint);
  if (isDirectory(named) && isRun) return checkpoint;
  if (existsSync(named)) return named;
  const { message } = notReadable(named, { code: "ENOENT" });
  throw new Remedied(
    "file_not_found",
    message,
    remedy(named, command, stateFolder),
  );
}

function remedy(named: string, command: string, stateFolder: string): string {
  const kept = subfolders(runsFolder(stateFolder)).filter((folder) =>
    existsSync(keptFilesIn(folder).checkpoint),
  );
  const shown = (folder: string): string =>
    relative(process.cwd(), folder) || ".";
  const own = kept.find((folder) => basename(folder) === named);
  if (own)
    return `\`${called(command, shellWord(shown(own)))}\` uses the run of this name`;
  const runs = kept.slice(-TOLD_RUNS).map(shown).join(", ");
  const here =
    kept.length === 0
      ? `No run is kept here; \`${called("train")}\` trains one`
      : `Kept here: ${runs}${kept.length > TOLD_RUNS ? `, and ${kept.length - TOLD_RUNS} more` : ""}`;
  return `${here}. For a run of an edge, add --url; \`${called("runs")}\` lists them`;
}
