/** The run that follows from what was typed. */
import { existsSync, statSync } from "node:fs";
import { basename, extname, join, resolve } from "node:path";
import type {
  OptimizerConfig,
  OptimizerName,
  Schedule,
} from "../../api/optimizer.ts";
import type { Recipe } from "../../api/recipe.ts";
import {
  BPE_VOCABULARY,
  type DatasetOptions,
  type TokenizerName,
} from "../../api/dataset.ts";
import type {
  ArchitectureName,
  ModelRequest,
  RunRequest,
  WireDtype,
} from "../../api/run-config.ts";
import { completeShape } from "../../model/architectures.ts";
import { BYTE_VOCABULARY } from "../../tokenizers/bpe.ts";
import { addressOf, type EdgeAddress } from "../edge-arguments.ts";
import { type KeptPlace, keptPlace } from "./kept-place.ts";
import { runsFolder } from "./kept-runs.ts";
import { mobyDick } from "./moby-dick.ts";
import { count, finite, positive, wholeNumber } from "./numbers.ts";
import { MODEL_PRESETS, type ModelPreset } from "./presets.ts";
import { splitBatch } from "./split-batch.ts";
import type { Origin } from "./origin.ts";
import type { ToldArgs, TrainArgs } from "./arguments.ts";

type RemoteOptions = {
  address: EdgeAddress;
  /** Trainers of this machine. */
  threads: number;
  detach: boolean;
};

export type TrainOptions = {
  /** The edge's own: nothing but training works in it. */
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
  /** What it goes on from; the request names it once it is on the edge. */
  origin: Origin | undefined;
  /** What the text must be where none is told: the one of the run that is resumed. */
  textDigest: string | undefined;
  /** Keep all state in the checkpoint. */
  isFull: boolean;
  steps: number;
  request: RunRequest;
};

/**
 * Checks what a person typed; what only the API can judge, it refuses itself. All is kept in `home` unless
 * --state names another folder.
 */
export function parseTrainOptions(
  args: TrainArgs,
  told: ToldArgs,
  home: string,
  origin: Origin | undefined,
): TrainOptions {
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
  const sizes = {
    layers: number("layers", origin?.shape.layers ?? preset.layers),
    width: number("width", origin?.shape.width ?? preset.width),
    heads: number("heads", origin?.shape.heads ?? preset.heads),
    context: number("context", origin?.shape.context ?? preset.context),
  };
  const { tokenizer, vocabulary } = tokenizerOf(args, told, origin);
  const asLlama = {
    groups: args.groups === undefined ? undefined : number("groups"),
    hidden: args.hidden === undefined ? undefined : number("hidden"),
    headNorm: args["head-norm"],
  };
  // GPT-2 is what a model is that names nothing.
  const arch = args.arch === "llama" ? args.arch : undefined;
  const model: ModelRequest = origin
    ? {
        ...Object.fromEntries(
          Object.entries(sizes).filter(([name]) => name in told),
        ),
        ...asLlama,
        arch: told.arch as ArchitectureName | undefined,
      }
    : { arch, ...sizes, ...asLlama };
  const before = args.resume && args.from ? stateOf(args, origin) : undefined;
  // Of a run that is resumed, what is told alone is other than it was.
  const asked = before ? told : args;
  const recipe = asked.recipe as Recipe | undefined;
  const gradientDtype = asked["gradient-dtype"] as WireDtype | undefined;
  const isSplitTold = !before || told.batch || told.microbatches;
  const split = isSplitTold
    ? splitBatch(args, batchOf(asked, before), {
        model: completeShape({
          ...(origin?.shape ?? model),
          ...sizes,
          vocabulary,
        }),
        recipe: recipe ?? before!.config.recipe,
        gradientDtype: gradientDtype ?? before!.config.gradientDtype,
        // Of more bytes than a trainer remembers, it does not matter how many tokens they are.
        dataset: { tokens: statSync(textFile).size, tokenizer },
      })
    : {};
  const steps =
    asked.steps === undefined ? before!.config.steps : number("steps");
  return {
    stateFolder: join(state, "train"),
    runs,
    textFile,
    tokenizer: tokenizer === "byte" ? { tokenizer } : { tokenizer, vocabulary },
    kept: keptPlace(args, sizes, runs),
    trainers: wholeNumber("trainers", args.trainers, args.url ? 0 : 1),
    remote: remoteOf(args),
    sampleEvery: wholeNumber("sample-every", args["sample-every"], 0),
    origin,
    textDigest: told.text ? undefined : before?.config.dataset.digest,
    isFull: args.full ?? false,
    steps,
    request: {
      dataset: datasetName(textFile),
      model,
      resume: before ? true : undefined,
      recipe,
      gradientDtype,
      seed:
        asked.seed === undefined
          ? undefined
          : count("seed", asked.seed, undefined, 0),
      steps,
      ...split,
      optimizer: optimizerOf(asked),
      shards: args.shards === undefined ? undefined : number("shards"),
      subtree: args.subtree === undefined ? undefined : number("subtree"),
      ...trustOf(args),
    },
  };
}

/** By how many trainers microbatches are computed. Those of a machine's own edge must be there. */
function trustOf({
  verify: share,
  redundancy: authors,
  trainers,
  url,
}: TrainArgs): Pick<RunRequest, "verify" | "redundancy"> {
  const verify = share === undefined ? undefined : finite("verify", share, 0);
  if (verify !== undefined && verify > 1)
    throw new Error(`Expected --verify to be at most 1, got ${share}`);
  const redundancy =
    authors === undefined ? undefined : count("redundancy", authors, undefined);
  const needed = Math.max(redundancy ?? 1, verify ? 2 : 1);
  if (url === undefined && needed > Number(trainers))
    throw new Error(
      `Expected --trainers of ${needed} at least, which ${redundancy === needed ? `--redundancy ${authors}` : `--verify ${share}`} asks of, got ${trainers}: the run would wait for more`,
    );
  return { verify, redundancy };
}

function stateOf(
  { from }: TrainArgs,
  origin: Origin | undefined,
): NonNullable<Origin["run"]> {
  if (origin?.run) return origin.run;
  throw new Error(
    `Expected --resume with --from and a checkpoint of --full, got parameters alone in ${from}`,
  );
}

/** A model that a run goes on from has its ids already. */
function tokenizerOf(
  args: TrainArgs,
  told: ToldArgs,
  origin: Origin | undefined,
): { tokenizer: TokenizerName; vocabulary: number } {
  const isGiven = origin?.tokenizer !== undefined;
  if (isGiven && (told.tokenizer ?? told.vocabulary) !== undefined)
    throw new Error(
      `Expected neither --tokenizer nor --vocabulary with --from and a checkpoint that has byte pairs, got ${told.tokenizer ?? told.vocabulary}`,
    );
  if (!origin || told.tokenizer || told.vocabulary) {
    const tokenizer = args.tokenizer as TokenizerName;
    return { tokenizer, vocabulary: vocabularyOf(tokenizer, args.vocabulary) };
  }
  const { vocabulary } = origin.shape;
  const tokenizer = vocabulary === BYTE_VOCABULARY ? "byte" : "bpe";
  return { tokenizer, vocabulary };
}

/** Sequences of a step. */
function batchOf(asked: ToldArgs, before: Origin["run"]): number {
  const { microbatches = 1, sequences = 1 } = before?.config ?? {};
  return count("batch", asked.batch, before && microbatches * sequences);
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
    address: addressOf({ _: [], url, token }),
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
function optimizerOf(args: ToldArgs): Partial<OptimizerConfig> {
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

/** A name for the corpus that the API takes: the file's. */
function datasetName(textFile: string): string {
  if (textFile === mobyDick()) return "moby-dick";
  const name = basename(textFile, extname(textFile)).replace(
    /[^A-Za-z0-9._-]+/g,
    "-",
  );
  return name.slice(0, 64) || "text";
}
