/**
 * A run's parameters as a model directory, which transformers loads, and from which a GGUF is made like from any
 * other. Its weights file is the checkpoint, byte for byte.
 */
import type { RunConfig } from "../api/run-config.ts";
import { CONFIG_FILE, SINGLE_FILE } from "../checkpoints/checkpoint.ts";
import type { Folder, RangedFile } from "../checkpoints/read-heads.ts";
import { concatenate } from "../formats/stream/bytes.ts";
import { architectureOf } from "../model/architectures.ts";
import { Bpe } from "../tokenizers/bpe.ts";
import { writeTokenizerJson } from "../tokenizers/tokenizer-json.ts";
import {
  type CheckpointConfig,
  type CheckpointPlan,
  checkpointPlan,
  type CheckpointState,
  type StateRange,
} from "./checkpoint.ts";

/** Reads the f32 values of a range, little-endian, in chunks. */
export type StateChunks = (range: StateRange) => AsyncIterable<Uint8Array>;

export type CheckpointFolder = Folder & {
  /** The files in order: small ones with their `text`, and the weights without. */
  files: readonly { name: string; text: string | undefined; bytes: number }[];
  /** Bytes `[start, end)` of the weights file. */
  weights: (start: number, end: number) => AsyncGenerator<Uint8Array>;
  bytes: number;
};

export function checkpointFolder(
  config: RunConfig | CheckpointConfig,
  state: CheckpointState,
  tokenizer: string | null,
  read: StateChunks,
): CheckpointFolder {
  const plan = checkpointPlan(config, state, tokenizer);
  const texts = textsOf(config, tokenizer);
  const weights = (start: number, end: number) =>
    partOf(plan, read, start, end);
  const file: RangedFile = {
    bytes: plan.bytes,
    read: async (start, end) => {
      const chunks: Uint8Array[] = [];
      // Copied, since a chunk may be a view of memory that the next chunk overwrites.
      for await (const chunk of weights(start, end)) chunks.push(chunk.slice());
      return concatenate(end - start, chunks);
    },
  };
  return {
    files: [
      ...Array.from(texts, ([name, text]) => {
        const bytes = new TextEncoder().encode(text).length;
        return { name, text, bytes };
      }),
      { name: SINGLE_FILE, text: undefined, bytes: plan.bytes },
    ],
    bytes: plan.bytes,
    weights,
    list: () => Promise.resolve([...texts.keys(), SINGLE_FILE]),
    text: (name) => Promise.resolve(texts.get(name)),
    open: () => Promise.resolve(file),
  };
}

function textsOf(
  { model }: Pick<RunConfig, "model">,
  tokenizer: string | null,
): Map<string, string> {
  const json = (value: object) => `${JSON.stringify(value, null, 2)}\n`;
  return new Map([
    [CONFIG_FILE, json(architectureOf(model).huggingFaceConfig(model))],
    [
      "generation_config.json",
      json({ do_sample: true, max_length: model.context }),
    ],
    ["tokenizer.json", tokenizer ?? writeTokenizerJson(new Bpe([]))],
    [
      "tokenizer_config.json",
      json({
        tokenizer_class: "PreTrainedTokenizerFast",
        model_max_length: model.context,
        clean_up_tokenization_spaces: false,
      }),
    ],
  ]);
}

/** Bytes `[start, end)` of the weights file: its head, then each tensor's range. */
async function* partOf(
  { head, ranges }: CheckpointPlan,
  read: StateChunks,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array> {
  if (start < head.length)
    yield head.subarray(start, Math.min(end, head.length));
  let at = head.length;
  for (const range of ranges) {
    const bytes = 4 * range.length;
    const from = Math.max(start - at, 0);
    const to = Math.min(end - at, bytes);
    if (from < to) {
      const first = Math.floor(from / 4);
      const length = Math.ceil(to / 4) - first;
      let skipped = from - 4 * first;
      let left = to - from;
      const part = { ...range, start: range.start + first, length };
      for await (const chunk of read(part)) {
        const own = chunk.subarray(skipped, skipped + left);
        skipped = 0;
        left -= own.length;
        yield own;
      }
    }
    at += bytes;
  }
}
