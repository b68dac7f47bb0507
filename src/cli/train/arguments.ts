/** What training can be told. */
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
    "What tokens are: byte pairs of the text, or its bytes",
    "bpe",
  ),
  vocabulary: valued(
    "N",
    `Ids of bpe, from ${BPE_VOCABULARY.least} to ${BPE_VOCABULARY.most} (default: ${BPE_VOCABULARY.default})`,
  ),
  from: valued(
    "PATH",
    "Go on from the parameters of a checkpoint, or of a GPT-2, Llama or Qwen3 in a directory or a GGUF, whose sizes the model has",
  ),
  resume: flag(
    "With --from, a checkpoint of --full: go on with its optimizer and at its step too, as its run would have, but for what is told; alone: go on with the run that was killed here",
  ),
  full: flag(
    "Keep what the optimizer remembers in the checkpoint too, as those of runs that were interrupted do",
  ),
  name: valued(
    "NAME",
    "Of the run, as its edge tells it too; checkpoint and metrics are kept in .mxfp4-edge/runs/NAME (default: preset, recipe and seed, numbered from the second)",
  ),
  out: valued("FILE", "Checkpoint to write instead, the metrics beside it"),
  force: flag("Overwrite what --name or --out names"),
  state: valued(
    "FOLDER",
    "Where runs are kept, in runs/, and where the edge works, in train/, from which the run before goes (default: .mxfp4-edge)",
  ),
  "sample-every": valued(
    "N",
    "Show what the parameters write every N steps, and at the end; 0 never",
    "200",
  ),
  recipe: oneOf(RECIPE_NAMES, "How the linear layers compute", DEFAULT_RECIPE),
  preset: oneOf(MODEL_PRESET_NAMES, "Sizes of the model", "tiny"),
  arch: oneOf(
    ARCHITECTURES,
    "What the model is: a GPT-2, or a Llama (RMSNorm, rotary positions, SwiGLU, groups of heads)",
    DEFAULT_ARCHITECTURE,
  ),
  layers: valued("N", "Layers, over the preset's"),
  width: valued("N", "Channels, a multiple of 64"),
  heads: valued("N", "Attention heads"),
  groups: valued(
    "N",
    "Of a llama: groups of heads that share keys and values (default: half as many as heads)",
  ),
  hidden: valued(
    "N",
    "Of a llama: channels of the gated layer, a multiple of 64 (default: 3 × width)",
  ),
  "head-norm": flag("Of a llama: norm queries and keys, as Qwen3 does"),
  context: valued("N", "Tokens of a sequence"),
  steps: valued("N", "Optimizer steps", "400"),
  batch: valued("N", "Sequences of a step", "8"),
  microbatches: valued(
    "N",
    "Parts of a step, each computed by one trainer (default: 4, or more where a part would not fit a trainer's memory)",
  ),
  ...optimizerArguments,
  seed: valued("N", "Of all randomness", "0"),
  "gradient-dtype": oneOf(WIRE_DTYPES, "How gradients travel", "mxfp4-eden"),
  trainers: valued(
    "N",
    "Processes that compute gradients; changes the speed, never the result",
    "2",
  ),
  shards: valued(
    "N",
    "Objects that hold the parameters; never changes the result (default: 2, or more where the parameters need them)",
  ),
  subtree: valued(
    "N",
    "Have so many neighbouring microbatches, a power of two, added up in an object of their own before a shard; never changes the result (docs/scaling.md)",
  ),
  verify: valued(
    "P",
    "Have a share of the microbatches, from 0 to 1, computed by a second trainer before they count; never changes the result",
  ),
  redundancy: valued("K", "Have each microbatch computed by so many trainers"),
  url: valued(
    "URL",
    "Train on this edge, whose own trainers --trainers counts then, in place of one on this machine",
  ),
  token: valued("TOKEN", "Its API_TOKEN (default: $MXFP4_EDGE_TOKEN)"),
  threads: valued(
    "N",
    "Trainers that are threads of this command, which need less time than processes; with --url they join the edge's (default: 0)",
  ),
  detach: flag(
    "With --url: leave the run to the edge's trainers once it has begun",
  ),
  json: flag(
    "Tell the run's events on stdout, a line of JSON each, and what it came to last",
  ),
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
