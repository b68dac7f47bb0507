/** Where a model lies that a person named. */
import { existsSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { CONFIG_FILE } from "../checkpoints/checkpoint.ts";
import { STATE_FOLDER } from "../local/places.ts";
import { called } from "./called.ts";
import { notReadable } from "./files.ts";
import { Remedied } from "./next-step.ts";
import { isDirectory } from "./send-files.ts";
import { shellWord } from "./shell-word.ts";
import { folders, keptFilesIn, runsFolder } from "./train/kept-runs.ts";

/** So many runs are told of one who named none that there is. */
const TOLD_RUNS = 5;

/**
 * Its directory or file; of a folder in which `train` has kept a run, the checkpoint.
 * Errors: `file_not_found`, with what there is, for what `command` may be called with
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
  const kept = folders(runsFolder(stateFolder)).filter((folder) =>
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
