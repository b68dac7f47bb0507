/** What training can be told. */
import type { ArgsDef, ParsedArgs } from "citty";
import { DEFAULT_RECIPE, RECIPE_NAMES } from "../../api/recipe.ts";
import { BPE_VOCABULARY, TOKENIZERS } from "../../api/dataset.ts";
import {
  ARCHITECTURES,
  WIRE_DTYPES,
  DEFAULT_ARCHITECTURE,
} from "../../api/run-config.ts";
import { configArgument, isTyped } from "../config-file.ts";
import { optimizerArguments } from "./optimizer-arguments.ts";
import { MODEL_PRESETS } from "./presets.ts";

export const trainArgs = {
  ...configArgument,
  text: {
    type: "string",
    valueHint: "FILE",
    description: "Text to train on (default: Moby Dick)",
  },
  tokenizer: {
    type: "enum",
    options: [...TOKENIZERS],
    default: "bpe",
    description: "What tokens are: byte pairs of the text, or its bytes",
  },
  vocabulary: {
    type: "string",
    valueHint: "N",
    description: `Ids of bpe, from ${BPE_VOCABULARY.least} to ${BPE_VOCABULARY.most} (default: ${BPE_VOCABULARY.default})`,
  },
  from: {
    type: "string",
    valueHint: "PATH",
    description:
      "Go on from the parameters of a checkpoint, or of a GPT-2, Llama or Qwen3 in a directory, whose sizes the model has",
  },
  resume: {
    type: "boolean",
    description:
      "With --from, a checkpoint of --full: go on with its optimizer and at its step too, as its run would have, but for what is told; alone: go on with the run that was killed here",
  },
  full: {
    type: "boolean",
    description:
      "Keep what the optimizer remembers in the checkpoint too, as those of runs that were interrupted do",
  },
  name: {
    type: "string",
    valueHint: "NAME",
    description:
      "Of the run, whose checkpoint and metrics are kept in .mxfp4-edge/runs/NAME (default: preset, recipe and seed, numbered from the second)",
  },
  out: {
    type: "string",
    valueHint: "FILE",
    description: "Checkpoint to write instead, the metrics beside it",
  },
  force: {
    type: "boolean",
    description: "Overwrite what --name or --out names",
  },
  state: {
    type: "string",
    valueHint: "FOLDER",
    description:
      "Where runs are kept, in runs/, and where the edge works, in train/, from which the run before goes (default: .mxfp4-edge)",
  },
  "sample-every": {
    type: "string",
    valueHint: "N",
    default: "200",
    description:
      "Show what the parameters write every N steps, and at the end; 0 never",
  },
  recipe: {
    type: "enum",
    options: [...RECIPE_NAMES],
    default: DEFAULT_RECIPE,
    description: "How the linear layers compute",
  },
  preset: {
    type: "enum",
    options: Object.keys(MODEL_PRESETS),
    default: "tiny",
    description: "Sizes of the model",
  },
  arch: {
    type: "enum",
    options: [...ARCHITECTURES],
    default: DEFAULT_ARCHITECTURE,
    description:
      "What the model is: a GPT-2, or a Llama (RMSNorm, rotary positions, SwiGLU, groups of heads)",
  },
  layers: {
    type: "string",
    valueHint: "N",
    description: "Layers, over the preset's",
  },
  width: {
    type: "string",
    valueHint: "N",
    description: "Channels, a multiple of 64",
  },
  heads: { type: "string", valueHint: "N", description: "Attention heads" },
  groups: {
    type: "string",
    valueHint: "N",
    description:
      "Of a llama: groups of heads that share keys and values (default: half as many as heads)",
  },
  hidden: {
    type: "string",
    valueHint: "N",
    description:
      "Of a llama: channels of the gated layer, a multiple of 64 (default: 3 × width)",
  },
  "head-norm": {
    type: "boolean",
    description: "Of a llama: norm queries and keys, as Qwen3 does",
  },
  context: {
    type: "string",
    valueHint: "N",
    description: "Tokens of a sequence",
  },
  steps: {
    type: "string",
    valueHint: "N",
    default: "400",
    description: "Optimizer steps",
  },
  batch: {
    type: "string",
    valueHint: "N",
    default: "8",
    description: "Sequences of a step",
  },
  microbatches: {
    type: "string",
    valueHint: "N",
    description:
      "Parts of a step, each computed by one trainer (default: 4, or more where a part would not fit a trainer's memory)",
  },
  ...optimizerArguments,
  seed: {
    type: "string",
    valueHint: "N",
    default: "0",
    description: "Of all randomness",
  },
  "gradient-dtype": {
    type: "enum",
    options: [...WIRE_DTYPES],
    default: "mxfp4-eden",
    description: "How gradients travel",
  },
  trainers: {
    type: "string",
    valueHint: "N",
    default: "2",
    description:
      "Processes that compute gradients; changes the speed, never the result",
  },
  shards: {
    type: "string",
    valueHint: "N",
    description:
      "Objects that hold the parameters; never changes the result (default: 2, or more where the parameters need them)",
  },
  subtree: {
    type: "string",
    valueHint: "N",
    description:
      "Have so many neighbouring microbatches, a power of two, added up in an object of their own before a shard; never changes the result (docs/scaling.md)",
  },
  verify: {
    type: "string",
    valueHint: "P",
    description:
      "Have a share of the microbatches, from 0 to 1, computed by a second trainer before they count; never changes the result",
  },
  redundancy: {
    type: "string",
    valueHint: "K",
    description: "Have each microbatch computed by so many trainers",
  },
  url: {
    type: "string",
    valueHint: "URL",
    description:
      "Train on this edge, whose own trainers --trainers counts then, in place of one on this machine",
  },
  token: {
    type: "string",
    valueHint: "TOKEN",
    description: "Its API_TOKEN (default: $MXFP4_EDGE_TOKEN)",
  },
  threads: {
    type: "string",
    valueHint: "N",
    description: "With --url: trainers of this machine that join (default: 0)",
  },
  detach: {
    type: "boolean",
    description:
      "With --url: leave the run to the edge's trainers once it has begun",
  },
  json: {
    type: "boolean",
    description:
      "Tell the run's events on stdout, a line of JSON each, and what it came to last",
  },
} as const satisfies ArgsDef;

export type TrainArgs = ParsedArgs<typeof trainArgs>;

/** What was typed, without defaults. */
export type ToldArgs = Partial<TrainArgs>;

export function toldArgs(
  args: TrainArgs,
  rawArgs: readonly string[],
): ToldArgs {
  const told = Object.entries(args).filter(([name]) => isTyped(rawArgs, name));
  return Object.fromEntries(told) as ToldArgs;
}
