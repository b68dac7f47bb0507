/**
 * A run's parameters as a safetensors file: Hugging Face names and layouts, f32. With `state=full`, each of a
 * tensor's optimizer moments is stored as `optimizer.<moment>.<name>`, of the tensor's shape.
 */
import type { PinnedDataset } from "../api/dataset.ts";
import { AppError } from "../api/errors.ts";
import type { RunConfig } from "../api/run-config.ts";
import { OPTIMIZER } from "../checkpoints/checkpoint.ts";
import {
  readSafetensors,
  writeSafetensors,
} from "../formats/containers/safetensors.ts";
import { compareNames } from "../formats/tensor.ts";
import { modelOf } from "../model/architectures.ts";
import type { ElementRange } from "../model/parameters.ts";
import { momentsOf } from "./optimizer.ts";
import { Bpe } from "../tokenizers/bpe.ts";
import { readTokenizerJson } from "../tokenizers/tokenizer-json.ts";

/** A safetensors file begins with its header's length, and the header with a brace. */
const LENGTH_BYTES = 8;
const JSON_BEGINS = 0x7b;
/** The metadata key that marks a file as a run's checkpoint. */
export const CONFIG = "mxfp4-edge.config";
const STEP = "mxfp4-edge.step";
/** The run's tokenizer.json, unless tokens are bytes. */
export const TOKENIZER = "mxfp4-edge.tokenizer";
/** The two digests of the preceding steps (results-digest.ts). */
const RESULTS = "mxfp4-edge.results";
const CHAIN = "mxfp4-edge.chain";
/** With `state=full`: how many tokens the run has trained on. */
const TOKENS = "mxfp4-edge.tokens";

/** A range of the flat vector: of the parameters, or of the named optimizer moment. */
export type StateRange = ElementRange & { moment?: string | undefined };

/** How far a run has come. */
export type CheckpointState = {
  step: number;
  /** Tokens trained on so far; only with `state=full`. */
  tokens?: number | undefined;
  /** SHA-256 over the results of the preceding steps (results-digest.ts). */
  results?: string | undefined;
  /** The same with the authors of the results, which depends on who trained; only if asked for. */
  chain?: string | undefined;
};

export type CheckpointPlan = {
  /** Size of the whole file. */
  bytes: number;
  /** Everything before the tensors' data: length and JSON header. */
  head: Uint8Array;
  /** Ranges of the flat vector whose f32 values follow the head, in this order. */
  ranges: StateRange[];
};

/**
 * With `tokens`, the file includes the optimizer state (`state=full`). The metadata holds only what the parameters
 * depend on: how a run was sharded and verified leaves no trace, so two runs of one config end in the same bytes.
 */
export function checkpointPlan(
  config: RunConfig | CheckpointConfig,
  { step, tokens, results, chain }: CheckpointState,
  tokenizer: string | null,
): CheckpointPlan {
  const { tensors } = modelOf(config.model).table;
  const parts = tensors.flatMap(({ name, shape, offset, length, group }) => {
    const moments =
      tokens === undefined ? [] : momentsOf(config.optimizer, group);
    const range = { start: offset, length };
    return [
      { name, shape, range },
      ...moments.map((moment) => ({
        name: momentName(moment, name),
        shape,
        range: { ...range, moment },
      })),
    ];
  });
  const sorted = parts.toSorted((a, b) => compareNames(a.name, b.name));
  const file = writeSafetensors(
    sorted.map(({ name, shape }) => ({
      name,
      shape,
      dtype: "F32" as const,
      chunks: [],
    })),
    new Map([
      // transformers requires it.
      ["format", "pt"],
      [CONFIG, JSON.stringify(essentialConfig(config))],
      [STEP, String(step)],
      ...(results === undefined ? [] : [[RESULTS, results] as const]),
      ...(chain === undefined ? [] : [[CHAIN, chain] as const]),
      ...(tokens === undefined ? [] : [[TOKENS, String(tokens)] as const]),
      ...(tokenizer === null ? [] : [[TOKENIZER, tokenizer] as const]),
    ]),
  );
  const [head] = file.chunks;
  return {
    bytes: file.bytes,
    head: head!,
    ranges: sorted.map(({ range }) => range),
  };
}

/** The part of a run's config that checkpoints contain: without how its state was sharded, stored and verified. */
export type CheckpointConfig = Omit<
  RunConfig,
  | "shards"
  | "snapshotSteps"
  | "subtree"
  | "verify"
  | "redundancy"
  | "dataset"
  | "from"
> & {
  dataset: Omit<PinnedDataset, "name">;
  from?: { digest: string } | undefined;
};

/**
 * Idempotent. For a resumed run, `from` is replaced by what the first run started from, so both end in the same
 * bytes.
 */
export function essentialConfig(
  config: RunConfig | CheckpointConfig,
): CheckpointConfig {
  const {
    shards: _shards,
    snapshotSteps: _snapshots,
    subtree: _subtree,
    verify: _verify,
    redundancy: _redundancy,
    dataset: { name: _name, ...dataset },
    from,
    ...essential
  } = config as RunConfig;
  const origin = from?.resumed ? from.resumed.origin : (from?.digest ?? null);
  return {
    ...essential,
    dataset,
    ...(origin !== null && { from: { digest: origin } }),
  };
}

/** The metadata of the run that wrote the file, unparsed and unchecked; undefined if no run did. */
export function writtenRun(metadata: ReadonlyMap<string, string>) {
  const config = metadata.get(CONFIG);
  if (config === undefined) return undefined;
  const number = (key: string) =>
    metadata.has(key) ? Number(metadata.get(key)) : undefined;
  return {
    config,
    step: number(STEP),
    tokens: number(TOKENS),
    results: metadata.get(RESULTS),
    tokenizer: metadata.get(TOKENIZER),
  };
}

export function momentName(moment: string, tensor: string): string {
  return `${OPTIMIZER}${moment}.${tensor}`;
}

/**
 * Reads a checkpoint: its run's config, and the f32 bytes of each tensor in the model's table. Errors:
 * `malformed_body`, naming what the file is instead
 */
export function readCheckpoint(file: Uint8Array): {
  config: CheckpointConfig;
  step: number;
  tokenizer: Bpe;
  tensors: ReadonlyMap<string, Uint8Array>;
} {
  const kind = foreignKind(file);
  if (kind) throw noCheckpoint(kind);
  const { tensors, metadata } = readSafetensors(file);
  const written = metadata.get(CONFIG);
  if (written === undefined) throw noCheckpoint(WITHOUT_CONFIG);
  const config = JSON.parse(written) as CheckpointConfig;
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  for (const { name, shape } of modelOf(config.model).table.tensors) {
    const found = byName.get(name);
    if (found?.dtype === "F32" && found.shape.join() === shape.join()) continue;
    throw new AppError(
      "malformed_body",
      `Expected \`${name}\` of a checkpoint to be F32 [${shape.join(", ")}], got ${found ? `${found.dtype} [${found.shape.join(", ")}]` : "no such tensor (dequantize a quantized file first)"}`,
    );
  }
  return {
    config,
    step: Number(metadata.get(STEP)),
    tokenizer: tokenizerOf(metadata.get(TOKENIZER), config),
    tensors: new Map(tensors.map(({ name, bytes }) => [name, bytes])),
  };
}

/** Errors: `malformed_body` if this project did not write it, or if its vocabulary is not the model's */
function tokenizerOf(
  json: string | undefined,
  { model: { vocabulary } }: CheckpointConfig,
): Bpe {
  const tokenizer = json === undefined ? new Bpe([]) : readTokenizerJson(json);
  if (tokenizer.vocabulary === vocabulary) return tokenizer;
  throw new AppError(
    "malformed_body",
    `Expected the checkpoint's tokenizer to have the model's ${vocabulary} ids, got ${tokenizer.vocabulary}`,
  );
}

/** How errors describe a safetensors file that no run wrote. */
export const WITHOUT_CONFIG = `a safetensors file without \`${CONFIG}\` in its metadata`;

/** The error for a file that is no checkpoint; `got` says what it is. */
export function noCheckpoint(got: string): AppError {
  return new AppError(
    "malformed_body",
    `Expected the checkpoint of a run, got ${got}`,
  );
}

/** What a file is, judged by its first bytes; undefined if it may be safetensors. */
export function foreignKind(file: Uint8Array): string | undefined {
  const start = new TextDecoder("latin1").decode(file.subarray(0, 8));
  if (file.length === 0) return "an empty file";
  if (start.startsWith("GGUF"))
    return "a GGUF file, which `generate`, `train --from` and llama.cpp take; to export, name the checkpoint that it was made from";
  if (start.startsWith("\x93NUMPY")) return "a .npy file";
  if (start.startsWith("PK")) return "a zip archive, as PyTorch writes";
  if (start.startsWith("version ")) return "a pointer of Git LFS";
  if (file[LENGTH_BYTES] !== JSON_BEGINS) return "a file of another kind";
  return undefined;
}
