/** Options of `ablation`. */
import type { ArgsDef, ParsedArgs } from "citty";
import { ARCHITECTURES } from "../../api/run-config.ts";
import { flag, oneOf, valued } from "../argument.ts";
import { configArgument } from "../config-file.ts";
import { rateArguments } from "../train/optimizer-arguments.ts";
import { MODEL_PRESET_NAMES } from "../train/presets.ts";
import { SETTINGS } from "./settings.ts";

export const DEFAULT_SEEDS = 4;

export const ablationArgs = {
  quick: flag("Compare the paper's four recipes on a small model, in minutes"),
  settings: valued(
    "NAME,…",
    `Settings of docs/ablation.md: ${SETTINGS.map(({ name }) => name).join(", ")} (default: all)`,
  ),
  recipes: valued("NAME,…", "Recipes to compare, as a setting of your own"),
  "gradient-dtypes": valued("NAME,…", "Formats in which gradients are sent"),
  optimizers: valued("NAME,…", "Optimizers; each becomes a setting"),
  preset: oneOf(MODEL_PRESET_NAMES, "Model size (default: tiny)"),
  arch: oneOf(ARCHITECTURES, "Architecture (default: gpt2)"),
  steps: valued("N", "Number of optimizer steps (default: 800)"),
  batch: valued("N", "Sequences per step (default: 8)"),
  microbatches: valued("N", "Microbatches per step (default: 4)"),
  ...rateArguments,
  "text-bytes": valued(
    "N",
    "Use only the first N bytes of the text (default: 0, for all)",
  ),
  seeds: valued(
    "N",
    `Runs per recipe or variant, one per seed (default: ${DEFAULT_SEEDS})`,
  ),
  jobs: valued("N", "Number of parallel runs (default: one per core)"),
  state: valued("FOLDER", "Folder for finished runs (default: .mxfp4-edge)"),
  out: valued(
    "FOLDER",
    "Folder for the page, charts and data (default: for all settings in a clone, docs; else in the state folder)",
  ),
  json: flag("Print JSON instead of tables"),
  ...configArgument,
} as const satisfies ArgsDef;

export type AblationArgs = ParsedArgs<typeof ablationArgs>;
