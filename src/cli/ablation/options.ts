/** Parses the options of an ablation. */
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { IS_CLONE, PACKAGE_ROOT, STATE_FOLDER } from "../../local/places.ts";
import { called } from "../called.ts";
import { runsFolder } from "../train/kept-runs.ts";
import { count } from "../numbers.ts";
import { UsageError } from "../file-arguments.ts";
import type { LanePlace } from "./make-runs.ts";
import type { Setting } from "./setting.ts";
import { QUICK, QUICK_SEEDS, SETTINGS } from "./settings.ts";
import { DEFAULT_SEEDS, type AblationArgs } from "./arguments.ts";
import { askedSettings, OWN } from "./own-settings.ts";

export type Ablation = {
  settings: readonly Setting[];
  seeds: number;
  jobs: number;
  place: LanePlace;
  /** For page, charts and data. */
  out: string;
  /** Print data, not tables, to stdout. */
  isJson: boolean;
  /** The command with which to repeat it. */
  command: string;
};

export function parseAblation(args: AblationArgs, rawArgs: string[]): Ablation {
  const own = OWN.filter((name) => args[name] !== undefined);
  const ways = [
    args.quick ? "--quick" : undefined,
    args.settings === undefined ? undefined : "--settings",
    own.length > 0 ? `--${own[0]}` : undefined,
  ].filter((way) => way !== undefined);
  if (ways.length > 1) {
    throw new UsageError(
      `Expected one of --quick, --settings, or the options of a setting of your own, got ${ways.join(" and ")}`,
    );
  }
  const isPage = ways.length === 0;
  const state = resolve(args.state ?? STATE_FOLDER);
  const folder = join(state, "ablation");
  return {
    settings: args.quick
      ? [QUICK]
      : isPage
        ? SETTINGS
        : askedSettings(args, own),
    seeds: count("seeds", args.seeds, args.quick ? QUICK_SEEDS : DEFAULT_SEEDS),
    jobs: count("jobs", args.jobs, availableParallelism()),
    place: {
      lanes: join(folder, "lanes"),
      outcomes: join(runsFolder(state), "ablation"),
    },
    out: resolve(
      args.out ?? (isPage && IS_CLONE ? join(PACKAGE_ROOT, "docs") : folder),
    ),
    isJson: args.json ?? false,
    command: called("ablation", whatIsCompared(rawArgs).join(" ")),
  };
}

/** The typed options, except those for where and how runs are trained. */
function whatIsCompared(rawArgs: readonly string[]): string[] {
  const isPlace = (arg = "") => /^--(jobs|state|out|config)$/.test(arg);
  return rawArgs.filter(
    (arg, i) =>
      !/^--(jobs|state|out|config|json)(=|$)/.test(arg) &&
      !isPlace(rawArgs[i - 1]),
  );
}
