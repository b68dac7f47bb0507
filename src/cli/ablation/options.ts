/** What an ablation can be told, and the settings that follow. */
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import type { ArgsDef, ParsedArgs } from "citty";
import {
  OPTIMIZER_NAMES,
  type OptimizerName,
  optimizerProblems,
} from "../../api/optimizer.ts";
import { RECIPE_NAMES, type Recipe } from "../../api/recipe.ts";
import {
  ARCHITECTURES,
  WIRE_DTYPES,
  type WireDtype,
  writtenArchitecture,
  type ArchitectureName,
} from "../../api/run-config.ts";
import { IS_CLONE, PACKAGE_ROOT, STATE_FOLDER } from "../../local/places.ts";
import { called } from "../called.ts";
import { configArgument } from "../config-file.ts";
import { runsFolder } from "../train/kept-runs.ts";
import { wholeNumber } from "../numbers.ts";
import { rateArguments, ratesOf } from "../train/optimizer-arguments.ts";
import { MODEL_PRESETS, type ModelPreset } from "../train/presets.ts";
import type { LanePlace } from "./make-runs.ts";
import type { Arm, Setting } from "./setting.ts";
import { QUICK, QUICK_SEEDS, SETTINGS } from "./settings.ts";

const DEFAULT_SEEDS = 4;

export const ablationArgs = {
  quick: {
    type: "boolean",
    description: "The four recipes of the paper on a small model, in minutes",
  },
  settings: {
    type: "string",
    valueHint: "NAME,…",
    description: `Of the page: ${SETTINGS.map(({ name }) => name).join(", ")} (default: all)`,
  },
  recipes: {
    type: "string",
    valueHint: "NAME,…",
    description: "A setting of one's own: its recipes",
  },
  "gradient-dtypes": {
    type: "string",
    valueHint: "NAME,…",
    description: "How gradients travel",
  },
  optimizers: {
    type: "string",
    valueHint: "NAME,…",
    description: "What updates the parameters, each a setting",
  },
  preset: {
    type: "enum",
    options: Object.keys(MODEL_PRESETS),
    description: "Sizes of the model (default: tiny)",
  },
  arch: {
    type: "enum",
    options: [...ARCHITECTURES],
    description: "What the model is (default: gpt2)",
  },
  steps: {
    type: "string",
    valueHint: "N",
    description: "Optimizer steps (default: 800)",
  },
  batch: {
    type: "string",
    valueHint: "N",
    description: "Sequences of a step (default: 8)",
  },
  microbatches: {
    type: "string",
    valueHint: "N",
    description: "Parts of a step (default: 4)",
  },
  ...rateArguments,
  "text-bytes": {
    type: "string",
    valueHint: "N",
    description: "Of the text, from its start; 0, the default, for all",
  },
  seeds: {
    type: "string",
    valueHint: "N",
    description: `Runs of each arm (default: ${DEFAULT_SEEDS})`,
  },
  jobs: {
    type: "string",
    valueHint: "N",
    description: "Runs at a time (default: one a core)",
  },
  state: {
    type: "string",
    valueHint: "FOLDER",
    description: "Where finished runs are kept (default: .mxfp4-edge)",
  },
  out: {
    type: "string",
    valueHint: "FOLDER",
    description:
      "Of page, charts and data (default: docs of a clone for all settings; else in the state folder)",
  },
  json: { type: "boolean", description: "Data as JSON, not tables" },
  ...configArgument,
} as const satisfies ArgsDef;

type AblationArgs = ParsedArgs<typeof ablationArgs>;

export type Ablation = {
  settings: readonly Setting[];
  seeds: number;
  jobs: number;
  place: LanePlace;
  /** Of page, charts and data. */
  out: string;
  /** Data, not tables, to stdout. */
  isJson: boolean;
  /** The command that asks for this. */
  command: string;
};

const OWN = [
  "recipes",
  "gradient-dtypes",
  "optimizers",
  "preset",
  "arch",
  "steps",
  "batch",
  "microbatches",
  "learning-rate",
  "matrix-learning-rate",
  "text-bytes",
] as const;

export function parseAblation(args: AblationArgs, rawArgs: string[]): Ablation {
  const own = OWN.filter((name) => args[name] !== undefined);
  const ways = [
    args.quick ? "--quick" : undefined,
    args.settings === undefined ? undefined : "--settings",
    own.length > 0 ? `--${own[0]}` : undefined,
  ].filter((way) => way !== undefined);
  if (ways.length > 1) {
    throw new Error(
      `Expected --quick, --settings, or options of a setting of one's own, got ${ways.join(" and ")}`,
    );
  }
  const isPage = ways.length === 0;
  const count = (name: keyof typeof ablationArgs, fallback: number) => {
    const text = args[name] as string | undefined;
    return text === undefined ? fallback : wholeNumber(name, text, 1);
  };
  const state = resolve(args.state ?? STATE_FOLDER);
  const folder = join(state, "ablation");
  return {
    settings: args.quick ? [QUICK] : isPage ? SETTINGS : asked(args, own),
    seeds: count("seeds", args.quick ? QUICK_SEEDS : DEFAULT_SEEDS),
    jobs: count("jobs", availableParallelism()),
    place: {
      lanes: join(folder, "lanes"),
      outcomes: join(runsFolder(state), "ablation"),
    },
    out: resolve(
      args.out ?? (isPage && IS_CLONE ? join(PACKAGE_ROOT, "docs") : folder),
    ),
    isJson: args.json ?? false,
    command: called(
      "ablation",
      ` ${rawArgs.join(" ")}`
        .replace(/ --(jobs|state|out|config)[ =]\S+| --json/g, "")
        .trimStart(),
    ),
  };
}

function asked(args: AblationArgs, own: readonly string[]): Setting[] {
  if (own.length > 0) return ownSettings(args);
  const known = SETTINGS.map(({ name }) => name);
  return list("settings", args.settings!, known).map((name) =>
    SETTINGS.find((setting) => setting.name === name)!,
  );
}

function ownSettings(args: AblationArgs): Setting[] {
  const names = <T extends string>(
    option: "recipes" | "gradient-dtypes" | "optimizers",
    known: readonly T[],
    fallback: readonly T[],
  ): readonly T[] => {
    const text = args[option];
    return text === undefined ? fallback : list(option, text, known);
  };
  const paper: Recipe[] = ["bf16", "mxfp4", "mxfp4-sr", "mxfp4-rht-sr"];
  const recipes = names<Recipe>("recipes", RECIPE_NAMES, paper);
  const dtypes = names<WireDtype>("gradient-dtypes", WIRE_DTYPES, ["mxfp4"]);
  const number = (
    name: "steps" | "batch" | "microbatches" | "text-bytes",
    fallback: number,
    least = 1,
  ) => {
    const text = args[name];
    return text === undefined ? fallback : wholeNumber(name, text, least);
  };
  const microbatches = number("microbatches", 4);
  const batch = number("batch", 2 * microbatches);
  if (batch % microbatches !== 0) {
    throw new Error(
      `Expected --batch to be a multiple of --microbatches ${microbatches}, got ${batch}`,
    );
  }
  const arms = recipes.flatMap((recipe) =>
    dtypes.map((gradientDtype): Arm => {
      const wire = dtypes.length > 1 ? `, ${gradientDtype} on the wire` : "";
      return { name: `${recipe}${wire}`, change: { recipe, gradientDtype } };
    }),
  );
  const baseline = arms.find(({ change }) => change.recipe === "bf16");
  const steps = number("steps", 800);
  const preset = (args.preset ?? "tiny") as ModelPreset;
  const arch = writtenArchitecture(args.arch as ArchitectureName | undefined);
  const model = `${arch ? "A Llama of preset" : "Preset"} \`${preset}\``;
  return names<OptimizerName>("optimizers", OPTIMIZER_NAMES, ["muon"]).map(
    (name): Setting => {
      const optimizer = { name, ...ratesOf(args) };
      const [problem] = optimizerProblems(optimizer, steps);
      if (problem) throw new Error(problem);
      return {
        name: `own-${name}`,
        title: `Optimizer ${name}`,
        about: `${model}, ${steps} steps of ${batch} sequences in ${microbatches} parts.`,
        base: {
          preset,
          arch,
          steps,
          microbatches,
          sequences: batch / microbatches,
          recipe: "mxfp4-rht-sr",
          gradientDtype: "mxfp4",
          optimizer,
          textBytes: number("text-bytes", 0, 0),
        },
        arms,
        baseline: (baseline ?? arms[0]!).name,
        incumbent: (baseline ?? arms[0]!).name,
      };
    },
  );
}

function list<T extends string>(
  option: string,
  text: string,
  known: readonly T[],
): T[] {
  return text.split(",").map((name) => {
    const found = known.find((each) => each === name);
    if (found === undefined) {
      throw new Error(
        `Expected --${option} to be some of ${known.join(", ")}, got "${name}"`,
      );
    }
    return found;
  });
}
