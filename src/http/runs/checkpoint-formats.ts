/** Exports of a checkpoint: a model directory for transformers in a tar, or a single GGUF for llama.cpp. */
import { SINGLE_FILE } from "../../checkpoints/checkpoint.ts";
import { readInOrder } from "../../checkpoints/tensor-reads.ts";
import { run } from "../../formats/stream/conversion.ts";
import { isolateMemory } from "../../memory/ledger.ts";
import type { CheckpointFolder } from "../../training/checkpoint-folder.ts";
import { planCheckpointGguf } from "../../training/checkpoint-gguf.ts";
import { layOutTar, tarChunks } from "../files/tar.ts";
import { PIECES_BYTES } from "../tensors/tensor-answer.ts";

export const CHECKPOINT_FORMATS = [
  "safetensors",
  "hf",
  "gguf",
  "gguf-mxfp4",
] as const;
export type CheckpointFormat = (typeof CHECKPOINT_FORMATS)[number];

export type Export = {
  bytes: number;
  /** File extension. */
  ending: string;
  type: string;
  chunks: AsyncGenerator<Uint8Array>;
};

const BINARY = "application/octet-stream";
const TAR = "application/x-tar";
export const CHECKPOINT_TYPES = [BINARY, TAR] as const;
/** Folder in the tar. */
const MODEL_NAME = "model";
/** Size of one read of a checkpoint. */
const WINDOW_BYTES = 256 * 1024;

export function exportCheckpoint(
  folder: CheckpointFolder,
  format: CheckpointFormat,
): Promise<Export> {
  if (format === "hf") return Promise.resolve(tarOf(folder));
  if (format !== "safetensors") return ggufOf(folder, format);
  return Promise.resolve({
    bytes: folder.bytes,
    ending: "safetensors",
    type: BINARY,
    chunks: folder.weights(0, folder.bytes),
  });
}

function tarOf({ files, weights }: CheckpointFolder): Export {
  const tar = layOutTar(
    files.map(({ name, bytes }) => ({
      name: `${MODEL_NAME}/${name}`,
      bytes,
      modifiedMs: 0,
    })),
  );
  async function* open(entry: number): AsyncGenerator<Uint8Array> {
    const { text, bytes } = files[entry]!;
    if (text === undefined) yield* weights(0, bytes);
    else yield new TextEncoder().encode(text);
  }
  return {
    bytes: tar.bytes,
    ending: "tar",
    type: TAR,
    chunks: tarChunks(tar, open),
  };
}

async function ggufOf(
  folder: CheckpointFolder,
  format: "gguf" | "gguf-mxfp4",
): Promise<Export> {
  const plan = await planCheckpointGguf(folder, format);
  const files = new Map([[SINGLE_FILE, await folder.open(SINGLE_FILE)]]);
  const { reads, totalBytes } = plan;
  async function* chunks(): AsyncGenerator<Uint8Array> {
    const conversion = plan.conversion();
    const { heldBytes } = conversion;
    const reservation = await isolateMemory.reserve(heldBytes + PIECES_BYTES);
    try {
      const source = readInOrder(reads, files, () => reservation.touch(), {
        windowBytes: WINDOW_BYTES,
      });
      yield* run(conversion, source);
    } finally {
      reservation.release();
    }
  }
  return { bytes: totalBytes, ending: "gguf", type: BINARY, chunks: chunks() };
}
