/** What an ablation can be told. */
import type { ArgsDef, ParsedArgs } from "citty";
import { ARCHITECTURES } from "../../api/run-config.ts";
import { flag, oneOf, valued } from "../argument.ts";
import { configArgument } from "../config-file.ts";
import { rateArguments } from "../train/optimizer-arguments.ts";
import { MODEL_PRESET_NAMES } from "../train/presets.ts";
import { SETTINGS } from "./settings.ts";

export const DEFAULT_SEEDS = 4;

export const ablationArgs = {
  quick: flag("The four recipes of the paper on a small model, in minutes"),
  settings: valued(
    "NAME,…",
    `Of the page: ${SETTINGS.map(({ name }) => name).join(", ")} (default: all)`,
  ),
  recipes: valued("NAME,…", "A setting of one's own: its recipes"),
  "gradient-dtypes": valued("NAME,…", "How gradients travel"),
  optimizers: valued("NAME,…", "What updates the parameters, each a setting"),
  preset: oneOf(MODEL_PRESET_NAMES, "Sizes of the model (default: tiny)"),
  arch: oneOf(ARCHITECTURES, "What the model is (default: gpt2)"),
  steps: valued("N", "Optimizer steps (default: 800)"),
  batch: valued("N", "Sequences of a step (default: 8)"),
  microbatches: valued("N", "Parts of a step (default: 4)"),
  ...rateArguments,
  "text-bytes": valued(
    "N",
    "Of the text, from its start; 0, the default, for all",
  ),
  seeds: valued("N", `Runs of each arm (default: ${DEFAULT_SEEDS})`),
  jobs: valued("N", "Runs at a time (default: one a core)"),
  state: valued(
    "FOLDER",
    "Where finished runs are kept (default: .mxfp4-edge)",
  ),
  out: valued(
    "FOLDER",
    "Of page, charts and data (default: docs of a clone for all settings; else in the state folder)",
  ),
  json: flag("Data as JSON, not tables"),
  ...configArgument,
} as const satisfies ArgsDef;

export type AblationArgs = ParsedArgs<typeof ablationArgs>;
