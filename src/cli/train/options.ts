/** Parses the options of `train`. */
import { statSync } from "node:fs";
import { basename, extname, join, resolve } from "node:path";
import type { DatasetOptions } from "../../api/dataset.ts";
import type { RunRequest } from "../../api/run-config.ts";
import { MAX_HOSTED_TRAINERS } from "../../api/run-status.ts";
import { completeShape } from "../../model/architectures.ts";
import { UsageError } from "../file-arguments.ts";
import { type KeptPlace, keptPlace } from "./kept-place.ts";
import { runsFolder } from "./kept-runs.ts";
import { mobyDick } from "./moby-dick.ts";
import { MOST_TRAINERS } from "../joined-threads.ts";
import { count, finite, optionalCount, wholeNumber } from "../numbers.ts";
import { askedModel, sizesOf } from "./model-options.ts";
import { optimizerOf } from "./optimizer-arguments.ts";
import type { Origin } from "./origin.ts";
import { type RemoteOptions, remoteOf } from "./remote-options.ts";
import { splitBatch } from "./split-batch.ts";
import { checkEncoding, textFileOf } from "./text-file.ts";
import { tokenizerOf } from "./tokenizer-options.ts";
import type { ToldArgs, TrainArgs } from "./arguments.ts";

export type TrainOptions = {
  /** The local edge's folder, used only for training. */
  stateFolder: string;
  /** Folder of kept runs. */
  runs: string;
  textFile: string;
  tokenizer: DatasetOptions;
  kept: KeptPlace;
  /** Trainers on the edge: processes, if the edge is local. */
  trainers: number;
  /** Trainers in this process. */
  threads: number;
  /** The edge to train on; undefined for a local one. */
  remote: RemoteOptions | undefined;
  /** In steps; 0 for never. */
  sampleEvery: number;
  /** The imported model; the request names it once it is on the edge. */
  origin: Origin | undefined;
  /** Expected digest of the text if --text is not typed: the resumed run's. */
  textDigest: string | undefined;
  /** Whether the checkpoint has the full state. */
  isFull: boolean;
  steps: number;
  request: RunRequest;
};

/** Checks typed options; the API checks the rest. Files are kept in `home` unless --state names another folder. */
export function parseTrainOptions(
  args: TrainArgs,
  told: ToldArgs,
  home: string,
  origin: Origin | undefined,
): TrainOptions {
  const state = resolve(args.state ?? home);
  const runs = runsFolder(state);
  const textFile = textFileOf(args.text);
  const sizes = sizesOf(args, told, origin);
  const { tokenizer, vocabulary } = tokenizerOf(args, told, origin);
  checkEncoding(textFile, tokenizer);
  const model = askedModel(args, told, sizes, origin);
  const before = args.resume && args.from ? stateOf(args, origin) : undefined;
  // A resumed run keeps its own options unless they are typed.
  const asked = before ? told : args;
  const { recipe, "gradient-dtype": gradientDtype } = asked;
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
        // The number of bytes is an upper bound; beyond what a trainer caches, the number of tokens does not matter.
        dataset: { tokens: statSync(textFile).size, tokenizer },
      })
    : {};
  const steps = optionalCount("steps", asked.steps) ?? before!.config.steps;
  const trainers = trainersOf(args, told);
  return {
    stateFolder: join(state, "train"),
    runs,
    textFile,
    tokenizer: tokenizer === "byte" ? { tokenizer } : { tokenizer, vocabulary },
    kept: keptPlace(args, sizes, runs),
    ...trainers,
    remote: remoteOf(args, trainers),
    sampleEvery: wholeNumber("sample-every", args["sample-every"], 0),
    origin,
    textDigest: told.text ? undefined : before?.config.dataset.digest,
    isFull: args.full ?? false,
    steps,
    request: {
      name: args.name,
      dataset: datasetName(textFile),
      model,
      resume: before ? true : undefined,
      recipe,
      gradientDtype,
      seed: optionalCount("seed", asked.seed, 0),
      steps,
      ...split,
      optimizer: optimizerOf(asked),
      shards: optionalCount("shards", args.shards),
      subtree: optionalCount("subtree", args.subtree),
      ...trustOf(args, trainers),
    },
  };
}

/** The numbers of trainers: those on the edge, and threads. With threads, a local edge has none by default. */
function trainersOf(
  { url, trainers: asked, threads: own }: TrainArgs,
  told: ToldArgs,
): Pick<TrainOptions, "trainers" | "threads"> {
  const threads = count("threads", own, 0, 0, MOST_TRAINERS);
  const isLeftToThreads = !url && threads > 0 && told.trainers === undefined;
  const least = url || threads > 0 ? 0 : 1;
  const trainers = isLeftToThreads
    ? 0
    : wholeNumber(
        "trainers",
        asked,
        least,
        url ? MAX_HOSTED_TRAINERS : MOST_TRAINERS,
      );
  if (trainers + threads === 0) {
    throw new UsageError(
      "Expected at least one trainer, got --trainers 0 and no --threads",
    );
  }
  return { trainers, threads };
}

/** How many trainers compute each microbatch; on a local edge, that many are needed. */
function trustOf(
  { verify: share, redundancy: authors, url }: TrainArgs,
  { trainers, threads }: Pick<TrainOptions, "trainers" | "threads">,
): Pick<RunRequest, "verify" | "redundancy"> {
  const verify = share === undefined ? undefined : finite("verify", share, 0);
  if (verify !== undefined && verify > 1)
    throw new UsageError(`Expected --verify to be at most 1, got ${share}`);
  const redundancy = optionalCount("redundancy", authors);
  const needed = Math.max(redundancy ?? 1, verify ? 2 : 1);
  const there = trainers + threads;
  if (url === undefined && needed > there)
    throw new UsageError(
      `Expected --${trainers > 0 ? "trainers" : "threads"} to be at least ${needed}, as ${redundancy === needed ? `--redundancy ${authors}` : `--verify ${share}`} requires, got ${there}: the run would wait for more`,
    );
  return { verify, redundancy };
}

function stateOf(
  { from }: TrainArgs,
  origin: Origin | undefined,
): NonNullable<Origin["run"]> {
  if (origin?.run) return origin.run;
  throw new UsageError(
    `Expected a checkpoint saved with --full for --from with --resume, got parameters only in ${from}`,
  );
}

/** Sequences per step. */
function batchOf(asked: ToldArgs, before: Origin["run"]): number {
  const { microbatches = 1, sequences = 1 } = before?.config ?? {};
  return count("batch", asked.batch, before && microbatches * sequences);
}

/** A valid dataset name from the file's. */
function datasetName(textFile: string): string {
  if (textFile === mobyDick()) return "moby-dick";
  const name = basename(textFile, extname(textFile)).replace(
    /[^A-Za-z0-9._-]+/g,
    "-",
  );
  return name.slice(0, 64) || "text";
}
