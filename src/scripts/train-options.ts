/** The run that follows from what `npm run train` was told. */
import { existsSync, statSync } from "node:fs";
import { basename, extname, join, resolve } from "node:path";
import type {
  OptimizerConfig,
  OptimizerName,
  Schedule,
} from "../api/optimizer.ts";
import type { Recipe } from "../api/recipe.ts";
import {
  BPE_VOCABULARY,
  type DatasetOptions,
  type RunRequest,
  type TokenizerName,
  type WireDtype,
} from "../api/types.ts";
import { BYTE_VOCABULARY } from "../tokenizers/bpe.ts";
import type { EdgeAddress } from "../cli/edge-arguments.ts";
import { type KeptPlace, keptPlace } from "./kept-place.ts";
import { runsFolder } from "./kept-runs.ts";
import { mobyDick } from "./moby-dick.ts";
import { count, finite, positive, wholeNumber } from "./numbers.ts";
import { MODEL_PRESETS, type ModelPreset } from "./presets.ts";
import { splitBatch } from "./split-batch.ts";
import type { TrainArgs } from "./train-arguments.ts";

const ROOT = resolve(import.meta.dirname, "../..");

type RemoteOptions = {
  address: EdgeAddress;
  /** Trainers of this machine. */
  threads: number;
  detach: boolean;
};

export type TrainOptions = {
  /** The edge's own: nothing but `npm run train` works in it. */
  stateFolder: string;
  /** Where runs are kept by name. */
  runs: string;
  textFile: string;
  tokenizer: DatasetOptions;
  kept: KeptPlace;
  trainers: number;
  /** The edge to train on, where that is not one of this machine's own. */
  remote: RemoteOptions | undefined;
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
  const number = (name: keyof TrainArgs, fallback?: number) =>
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
    trainers: wholeNumber("trainers", args.trainers, args.url ? 0 : 1),
    remote: remoteOf(args),
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

function remoteOf(args: TrainArgs): RemoteOptions | undefined {
  const { url, token, threads, detach = false } = args;
  if (url === undefined) {
    const [alone] = Object.entries({
      token,
      threads,
      detach: detach || undefined,
    })
      .filter(([, value]) => value !== undefined)
      .map(([name]) => name);
    if (alone === undefined) return undefined;
    throw new Error(
      `Expected --${alone} with --url, which names the edge, got it alone`,
    );
  }
  const own = count("threads", threads, 0, 0);
  const hosted = wholeNumber("trainers", args.trainers, 0);
  if (own + hosted === 0) {
    throw new Error(
      "Expected a trainer at least, got --trainers 0 and no --threads",
    );
  }
  if (detach && (own > 0 || hosted === 0)) {
    throw new Error(
      `Expected --detach with trainers of the edge alone, got --trainers ${hosted} and --threads ${own}, which go with this command`,
    );
  }
  return {
    address: { baseUrl: url, token: token ?? process.env.MXFP4_EDGE_TOKEN },
    threads: own,
    detach,
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
    name: keyof TrainArgs,
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

/** A name for the corpus that the API takes: the file's, or its package's. */
function datasetName(textFile: string): string {
  if (textFile.includes("datasets-moby-dick")) return "moby-dick";
  const name = basename(textFile, extname(textFile)).replace(
    /[^A-Za-z0-9._-]+/g,
    "-",
  );
  return name.slice(0, 64) || basename(ROOT);
}
