/**
 * Plans converting a model directory to another: the output files and their contents. The command and jobs use the
 * same plan, so their bytes are the same.
 */
import { withDefaults } from "../api/option-kinds.ts";
import {
  DEQUANTIZE_OPTIONS,
  DIRECTORY_OPTIONS,
  QUANTIZE_OPTIONS,
  SELECTION_OPTIONS,
  SHARD_OPTIONS,
} from "../api/options.ts";
import type { QuantizeOptions } from "../api/tensors.ts";
import {
  type KeptValues,
  valuesOf,
} from "../formats/operations/nonfinite-values.ts";
import { toldLayout } from "../formats/operations/file-operation.ts";
import { schemeOf } from "../formats/blocks/scheme.ts";
import type { DecodedDtype } from "../formats/dtype.ts";
import type { BlocksPlan } from "./blocks-plan.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { CONFIG_FILE, INDEX_FILE, OTHER_WEIGHTS } from "./checkpoint.ts";
import { planDequantizedDirectory } from "./dequantize-plan.ts";
import type { NormsOf } from "./fold.ts";
import { modelCard } from "./model-card.ts";
import { planDirectory } from "./quantize-plan.ts";
import { planRepackedDirectory } from "./repack-plan.ts";
import { bytesOfHeads, dataBytes, type PlannedShard } from "./shards.ts";
import type { FolderRequest } from "./folder-request.ts";

const CARD_FILE = "README.md";
const isWeightFile = (file: string): boolean =>
  /\.safetensors$|\.index\.json$/.test(file) || OTHER_WEIGHTS.test(file);
/** Quantization configs of ModelOpt, GPTQ and AWQ, which loaders use if config.json has none. */
const FORMER_CONFIGS = [
  "hf_quant_config.json",
  "quantize_config.json",
  "quant_config.json",
];

export type FolderPlan = NormsOf & {
  shards: readonly PlannedShard[];
  /** Files copied unchanged, such as the tokenizer. */
  copies: readonly string[];
  /** Files left out: weights in other formats or of other models, and files that no longer apply. */
  leftOut: readonly string[];
  /** Files that a loader needs and that are missing. */
  missing: readonly string[];
  /** The config, and the index if there are several files. */
  texts: readonly (readonly [file: string, text: string])[];
  /** README.md, made from the SHA-256 of the output of each tensor in `digested`. */
  card: readonly [file: string, of: (digests: Digests) => string];
  digested: ReadonlySet<string>;
  /** What was done, in words. */
  done: string;
};

/** SHA-256 by tensor, in hexadecimal. */
type Digests = ReadonlyMap<string, string>;

/** Options that do not affect the output, except for the figures. */
type Watching = {
  /** Add each tensor's error to README.md. */
  withFigures?: boolean | undefined;
  /** Collects non-finite values that are kept. */
  kept?: KeptValues;
};

/**
 * `files` are the names of the directory's files, `name` is the model's name in its card. Errors: those of
 * `planDirectory`, `planDequantizedDirectory` and `planRepackedDirectory`
 */
export function planFolder(
  checkpoint: Checkpoint,
  files: readonly string[],
  name: string,
  request: FolderRequest,
  watching: Watching = {},
): FolderPlan {
  const made = madeFolder(checkpoint, name, request, watching);
  const written = new Set([CONFIG_FILE, CARD_FILE, ...FORMER_CONFIGS]);
  const copies = files.filter(
    (file) => !isWeightFile(file) && !written.has(file),
  );
  const read = new Set(checkpoint.tensors.map(({ file }) => file));
  const leftOut = files.filter(
    (file) =>
      FORMER_CONFIGS.includes(file) ||
      (isWeightFile(file) && !read.has(file) && file !== INDEX_FILE),
  );
  const missing = checkpoint.config === undefined ? [CONFIG_FILE] : [];
  return { ...made, copies, leftOut, missing };
}

/** Whether a plan may read or copy a file. */
export function isTaken(file: string): boolean {
  return !isWeightFile(file) || /\.safetensors(\.index\.json)?$/.test(file);
}

type Made = Omit<FolderPlan, "copies" | "leftOut" | "missing">;
type FolderQuantizeOptions = NonNullable<
  Extract<FolderRequest, { operation: "quantize" }>["options"]
>;

function madeFolder(
  checkpoint: Checkpoint,
  name: string,
  request: FolderRequest,
  watching: Watching,
): Made {
  return request.operation === "quantize"
    ? quantizedFolder(checkpoint, name, request.options ?? {}, watching)
    : blocksFolder(name, planBlocks(checkpoint, request, watching));
}

function quantizedFolder(
  checkpoint: Checkpoint,
  name: string,
  given: FolderQuantizeOptions,
  { withFigures = false, kept }: Watching,
): Made {
  const { for: target, rotate } = withDefaults(DIRECTORY_OPTIONS, given);
  const { maxShardSize } = withDefaults(SHARD_OPTIONS, given);
  if (target === undefined || target === "llama.cpp")
    throw new Error(`Expected a loader of directories, got ${target}`);
  const scheme = schemeOf(given);
  const plan = planDirectory(checkpoint, {
    target,
    rotate,
    scheme,
    selection: withDefaults(SELECTION_OPTIONS, given),
    maxShardBytes: maxShardSize,
    withFigures,
    watch: valuesOf(given.nonfinite, kept).watch,
  });
  const packed = plan.decisions.flatMap((decision, i) =>
    decision.packed ? plan.tensors[i]! : [],
  );
  const { shards, texts, norms, normOffset, figures } = plan;
  const card = (digests: Digests) =>
    modelCard({
      name,
      target,
      options: { ...scheme, ...toldOptions(given) },
      foldSeed: rotate === "fold" ? scheme.seed : undefined,
      tensors: packed.map((tensor) => ({
        name: tensor.name,
        shape: tensor.shape,
        digest: digestOf(digests, tensor.name),
        errors: figures?.of(tensor.name),
      })),
      bytesBefore: bytesOfHeads(checkpoint.tensors),
      bytesAfter: dataBytes(shards),
    });
  return {
    shards,
    texts: toLast(texts),
    norms,
    normOffset,
    card: [CARD_FILE, card],
    digested: new Set(packed.map((tensor) => tensor.name)),
    done: `${packed.length} of ${plan.tensors.length} tensors in MXFP4 for ${target}`,
  };
}

function blocksFolder(
  name: string,
  { shards, texts, card, digested, done }: BlocksPlan,
): Made {
  const cardOf = (digests: Digests) =>
    card(name, (tensor) => digestOf(digests, tensor));
  return {
    shards,
    texts: toLast(texts),
    norms: [],
    normOffset: 0,
    card: [CARD_FILE, cardOf],
    digested,
    done,
  };
}

function planBlocks(
  checkpoint: Checkpoint,
  request: Exclude<FolderRequest, { operation: "quantize" }>,
  { kept }: Watching,
): BlocksPlan {
  const { operation, options = {} } = request;
  const { maxShardSize } = withDefaults(SHARD_OPTIONS, options);
  const { watch } = valuesOf(options.nonfinite, kept);
  if (operation === "repack")
    return planRepackedDirectory(
      checkpoint,
      toldLayout(options),
      maxShardSize,
      watch,
    );
  const { dtype } = withDefaults(DEQUANTIZE_OPTIONS, request.options ?? {});
  const type = dtype.toUpperCase() as DecodedDtype;
  return planDequantizedDirectory(checkpoint, type, maxShardSize, watch);
}

/** Puts the config last, since no loader loads a directory without it. */
function toLast(texts: FolderPlan["texts"]): FolderPlan["texts"] {
  const isLast = ([file]: readonly [string, string]) => file === CONFIG_FILE;
  return texts.toSorted((a, b) => Number(isLast(a)) - Number(isLast(b)));
}

/** The given quantization options, in their fixed order. */
function toldOptions(given: QuantizeOptions): Record<string, unknown> {
  const names = Object.keys(QUANTIZE_OPTIONS) as (keyof QuantizeOptions)[];
  return Object.fromEntries(
    names.flatMap((name) =>
      given[name] === undefined ? [] : [[name, given[name]]],
    ),
  );
}

function digestOf(digests: Digests, name: string): string {
  const digest = digests.get(name);
  if (digest !== undefined) return digest;
  throw new Error(`Expected the digest of "${name}", got none`);
}
