/** Options of `train`. */
import type { ArgsDef, ParsedArgs } from "citty";
import { DEFAULT_RECIPE, RECIPE_NAMES } from "../../api/recipe.ts";
import { BPE_VOCABULARY, TOKENIZERS } from "../../api/dataset.ts";
import {
  ARCHITECTURES,
  WIRE_DTYPES,
  DEFAULT_ARCHITECTURE,
} from "../../api/run-config.ts";
import { flag, oneOf, valued } from "../argument.ts";
import { configArgument, isTyped } from "../config-file.ts";
import { optimizerArguments } from "./optimizer-arguments.ts";
import { MODEL_PRESET_NAMES } from "./presets.ts";

export const trainArgs = {
  ...configArgument,
  text: valued("FILE", "Text to train on (default: Moby Dick)"),
  tokenizer: oneOf(
    TOKENIZERS,
    "Tokens: byte pairs learned from the text, or single bytes",
    "bpe",
  ),
  vocabulary: valued(
    "N",
    `Size of the bpe vocabulary, ${BPE_VOCABULARY.least} to ${BPE_VOCABULARY.most} (default: ${BPE_VOCABULARY.default})`,
  ),
  from: valued(
    "PATH",
    "Start from the weights and sizes of a checkpoint, or of a GPT-2, Llama or Qwen directory or GGUF",
  ),
  resume: flag(
    "Continue the interrupted run; or with --from and a checkpoint saved with --full, restore its optimizer, step and options as well, except options given explicitly",
  ),
  full: flag(
    "Save the optimizer state in the checkpoint too; checkpoints of interrupted runs always have it",
  ),
  name: valued(
    "NAME",
    "Name of the run; checkpoint and metrics are kept in .mxfp4-edge/runs/NAME (default: preset, recipe and seed, then numbered)",
  ),
  out: valued(
    "FILE",
    "Write the checkpoint to this file instead, and the metrics beside it",
  ),
  force: flag("Overwrite the files that --name or --out refers to"),
  state: valued(
    "FOLDER",
    "Folder for kept runs (runs/) and for the local edge's state (train/), which a new run replaces (default: .mxfp4-edge)",
  ),
  "sample-every": valued(
    "N",
    "Print sample text every N steps and at the end; 0 for never",
    "200",
  ),
  recipe: oneOf(
    RECIPE_NAMES,
    "Precision of the linear layers; README.md explains each",
    DEFAULT_RECIPE,
  ),
  preset: oneOf(MODEL_PRESET_NAMES, "Model size", "tiny"),
  arch: oneOf(
    ARCHITECTURES,
    "Architecture: GPT-2, or Llama (RMSNorm, rotary positions, SwiGLU, grouped-query attention)",
    DEFAULT_ARCHITECTURE,
  ),
  layers: valued("N", "Number of layers (default for sizes: the preset's)"),
  width: valued("N", "Model width, a multiple of 64"),
  heads: valued("N", "Number of attention heads"),
  groups: valued(
    "N",
    "Llama: number of key-value heads (default: half the heads)",
  ),
  hidden: valued(
    "N",
    "Llama: width of the gated layer, a multiple of 64 (default: 3 × width)",
  ),
  "head-norm": flag("Llama: normalize queries and keys, as in Qwen3"),
  context: valued("N", "Tokens per sequence"),
  steps: valued("N", "Number of optimizer steps", "200"),
  batch: valued("N", "Sequences per step", "32"),
  microbatches: valued(
    "N",
    "Microbatches per step, each computed by one trainer (default: 4, or more if one would not fit a trainer's memory)",
  ),
  ...optimizerArguments,
  seed: valued("N", "Seed of all randomness", "0"),
  "gradient-dtype": oneOf(
    WIRE_DTYPES,
    "Format in which gradients are sent",
    "mxfp4-eden",
  ),
  trainers: valued(
    "N",
    "Number of processes that compute gradients; never changes the result",
    "2",
  ),
  shards: valued(
    "N",
    "Number of objects that hold the parameters; never changes the result (default: 2, or more if the parameters need them)",
  ),
  subtree: valued(
    "N",
    "Sum the gradients of N neighbouring microbatches, a power of two, in a separate object before the shard; never changes the result (docs/scaling.md)",
  ),
  verify: valued(
    "P",
    "Share of microbatches, from 0 to 1, that a second trainer must confirm; never changes the result (docs/trust.md)",
  ),
  redundancy: valued(
    "K",
    "Number of trainers that must compute each microbatch (docs/trust.md)",
  ),
  url: valued(
    "URL",
    "Train on this edge instead of a local one; --trainers then starts trainers on that edge, at most 16",
  ),
  token: valued("TOKEN", "The edge's API_TOKEN (default: $MXFP4_EDGE_TOKEN)"),
  threads: valued(
    "N",
    "Number of trainers that are threads of this command, which are faster than processes; with --url they train beside those of the edge (default: 0)",
  ),
  detach: flag(
    "With --url: exit once the run has started, and leave it to the edge's trainers; without, Ctrl-C cancels the run there",
  ),
  json: flag("Print the run's events, then its result, as lines of JSON"),
} as const satisfies ArgsDef;

export type TrainArgs = ParsedArgs<typeof trainArgs>;

/** Typed options, without defaults. */
export type ToldArgs = Partial<TrainArgs>;

export function toldArgs(
  args: TrainArgs,
  rawArgs: readonly string[],
): ToldArgs {
  const told = Object.entries(args).filter(([name]) => isTyped(rawArgs, name));
  return Object.fromEntries(told) as ToldArgs;
}
