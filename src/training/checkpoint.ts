/**
 * A run's parameters as a safetensors file: Hugging Face names and layouts, f32. With all of its state, what the
 * optimizer remembers of a tensor stands beside it, `optimizer.<moment>.<name>` of the same shape.
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
/** The key of the metadata by which a checkpoint of a run is known. */
export const CONFIG = "mxfp4-edge.config";
const STEP = "mxfp4-edge.step";
/** Its tokenizer.json, where tokens are no bytes. */
export const TOKENIZER = "mxfp4-edge.tokenizer";
/** What its steps have come to (results-digest.ts), and with who told so. */
const RESULTS = "mxfp4-edge.results";
const CHAIN = "mxfp4-edge.chain";
/** Of one with all state: the tokens trained on. */
const TOKENS = "mxfp4-edge.tokens";

/** A range of the flat vector, of the parameters or of a moment that its group has. */
export type StateRange = ElementRange & { moment?: string | undefined };

/** Where a run is. */
export type CheckpointState = {
  step: number;
  /** Trained on so far, of a checkpoint with all state. */
  tokens?: number | undefined;
  /** SHA-256 of what its steps have come to. */
  results?: string | undefined;
  /** The same with who told so, which differs by who trained: of a checkpoint for which it is asked. */
  chain?: string | undefined;
};

export type CheckpointPlan = {
  /** Of the whole file. */
  bytes: number;
  /** All that stands before the tensors. */
  head: Uint8Array;
  /** Ranges of the flat vector, in the order in which they follow as f32. */
  ranges: StateRange[];
};

/**
 * With `tokens`, all of the state. The metadata holds what the parameters depend on and nothing else: how a run was sharded and verified leaves
 * no trace, so two runs of one config end in the same bytes.
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
      // Readers in Python ask for it.
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

/** What a checkpoint's metadata tells of its run: where it was kept leaves no trace. */
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

/** Of such a one it is itself. A run that is resumed tells of what the run before began from: it ends in the same bytes. */
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

/** What metadata tells of the run that wrote it, unread; undefined where none did. */
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
 * A checkpoint's run and its tensors' bytes, f32, all that the model's table names.
 * Errors: `malformed_body`, with what it is instead
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
      `Expected \`${name}\` of a checkpoint to be F32 [${shape.join(", ")}], got ${found ? `${found.dtype} [${found.shape.join(", ")}]` : "no such tensor: a file that was quantized is dequantized first"}`,
    );
  }
  return {
    config,
    step: Number(metadata.get(STEP)),
    tokenizer: tokenizerOf(metadata.get(TOKENIZER), config),
    tensors: new Map(tensors.map(({ name, bytes }) => [name, bytes])),
  };
}

/** Errors: `malformed_body`, it is none of this project; and where it has other ids than the model */
function tokenizerOf(
  json: string | undefined,
  { model: { vocabulary } }: CheckpointConfig,
): Bpe {
  const tokenizer = json === undefined ? new Bpe([]) : readTokenizerJson(json);
  if (tokenizer.vocabulary === vocabulary) return tokenizer;
  throw new AppError(
    "malformed_body",
    `Expected a tokenizer of the checkpoint's ${vocabulary} ids, got one of ${tokenizer.vocabulary}`,
  );
}

/** What a safetensors file is that no run has written. */
export const WITHOUT_CONFIG = `a safetensors file without \`${CONFIG}\` in its metadata`;

/** The refusal of a file that is something else. */
export function noCheckpoint(got: string): AppError {
  return new AppError(
    "malformed_body",
    `Expected the checkpoint of a run, got ${got}`,
  );
}

/** What a file is that is certainly no safetensors file, by its first bytes. */
export function foreignKind(file: Uint8Array): string | undefined {
  const start = new TextDecoder("latin1").decode(file.subarray(0, 8));
  if (file.length === 0) return "an empty file";
  if (start.startsWith("GGUF"))
    return "a GGUF file, which `generate` and llama.cpp write with, and `train --from` begins with; what it was made of is exported";
  if (start.startsWith("\x93NUMPY")) return "a .npy file";
  if (start.startsWith("PK")) return "a zip archive, as PyTorch writes";
  if (start.startsWith("version ")) return "a pointer of Git LFS";
  if (file[LENGTH_BYTES] !== JSON_BEGINS) return "a file of another kind";
  return undefined;
}
