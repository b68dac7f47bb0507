/** What an ablation can be told. */
import type { ArgsDef, ParsedArgs } from "citty";
import { ARCHITECTURES } from "../../api/run-config.ts";
import { configArgument } from "../config-file.ts";
import { rateArguments } from "../train/optimizer-arguments.ts";
import { MODEL_PRESETS } from "../train/presets.ts";
import { SETTINGS } from "./settings.ts";

export const DEFAULT_SEEDS = 4;

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

export type AblationArgs = ParsedArgs<typeof ablationArgs>;
