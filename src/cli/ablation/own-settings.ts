/** The requested settings: those of the page by name, or one defined by options. */
import {
  completeOptimizer,
  OPTIMIZER_NAMES,
  type OptimizerName,
  optimizerProblems,
} from "../../api/optimizer.ts";
import { RECIPE_NAMES, type Recipe } from "../../api/recipe.ts";
import {
  WIRE_DTYPES,
  type WireDtype,
  writtenArchitecture,
} from "../../api/run-config.ts";
import { count } from "../numbers.ts";
import { ratesOf } from "../train/optimizer-arguments.ts";
import { UsageError } from "../file-arguments.ts";
import type { Arm, Setting } from "./setting.ts";
import { SETTINGS } from "./settings.ts";
import type { AblationArgs } from "./arguments.ts";

export const OWN = [
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

export function askedSettings(
  args: AblationArgs,
  own: readonly string[],
): Setting[] {
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
  const microbatches = count("microbatches", args.microbatches, 4);
  const batch = count("batch", args.batch, 2 * microbatches);
  if (batch % microbatches !== 0) {
    throw new UsageError(
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
  const steps = count("steps", args.steps, 800);
  const preset = args.preset ?? "tiny";
  const arch = writtenArchitecture(args.arch);
  const model = `${arch ? "A Llama of preset" : "Preset"} \`${preset}\``;
  return names<OptimizerName>("optimizers", OPTIMIZER_NAMES, ["muon"]).map(
    (name): Setting => {
      const optimizer = { name, ...ratesOf(args) };
      const whole = completeOptimizer(optimizer);
      const [problem] = optimizerProblems(optimizer, whole, steps);
      if (problem) throw new UsageError(problem);
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
          textBytes: count("text-bytes", args["text-bytes"], 0, 0),
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
  const names = text.split(",");
  return names.map((name, i) => {
    if (names.indexOf(name) < i) {
      throw new UsageError(
        `Expected --${option} to name each once, got "${name}" twice`,
      );
    }
    const found = known.find((each) => each === name);
    if (found === undefined) {
      throw new UsageError(
        `Expected --${option} to be a list of ${known.join(", ")}, got "${name}"`,
      );
    }
    return found;
  });
}
