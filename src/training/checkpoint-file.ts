/**
 * A run's checkpoint (one safetensors file, read by byte ranges) presented as a model directory, to generate text
 * from or to export.
 */
import { CONFIG_FILE, SINGLE_FILE } from "../checkpoints/checkpoint.ts";
import type { HeadReading } from "../formats/containers/gguf-reader.ts";
import { ggufFolder } from "../checkpoints/from-gguf/gguf-folder.ts";
import type { OpenBeside } from "../checkpoints/gguf-parts.ts";
import {
  type Folder,
  type RangedFile,
  readSafetensorsHead,
} from "../checkpoints/read-heads.ts";
import { architectureOf } from "../model/architectures.ts";
import {
  type CheckpointConfig,
  CONFIG,
  foreignKind,
  noCheckpoint,
  TOKENIZER,
  WITHOUT_CONFIG,
  writtenRun,
} from "./checkpoint.ts";
import {
  type CheckpointFolder,
  checkpointFolder,
} from "./checkpoint-folder.ts";
import { openModel } from "./imported-model.ts";
import { readCheckpointConfig } from "./resumed.ts";

/** Checks by its first bytes that a file may be safetensors. Errors: `malformed_body`, naming what it is instead */
export async function checkKind(file: RangedFile): Promise<void> {
  const kind = foreignKind(await file.read(0, Math.min(16, file.bytes)));
  if (kind) throw noCheckpoint(kind);
}

/**
 * Opens a single file to generate text from: a run's checkpoint, or a GGUF (of one in parts, the first). Errors:
 * those of `ggufFolder` and `checkpointFile`
 */
export async function modelFile(
  name: string,
  open: OpenBeside,
  reading?: HeadReading,
): Promise<Folder> {
  const file = await open(name);
  const gguf = await ggufFolder(name, file, open, reading);
  return gguf ?? checkpointFile(file);
}

/** Opens a run's checkpoint as a model directory. Errors: `malformed_body` if the file is not one */
export async function checkpointFile(file: RangedFile): Promise<Folder> {
  await checkKind(file);
  const { metadata } = await readSafetensorsHead(file);
  const written = metadata.get(CONFIG);
  if (written === undefined) throw noCheckpoint(WITHOUT_CONFIG);
  const { model } = JSON.parse(written) as CheckpointConfig;
  const config = architectureOf(model).huggingFaceConfig(model);
  const texts = new Map([
    [CONFIG_FILE, JSON.stringify(config)],
    ["tokenizer.json", metadata.get(TOKENIZER)],
  ]);
  return {
    list: () => Promise.resolve([SINGLE_FILE]),
    text: (name) => Promise.resolve(texts.get(name)),
    open: () => Promise.resolve(file),
  };
}

/**
 * A checkpoint as the directory that other programs load, without the optimizer state. Not to be called inside an
 * arena scope. Errors: as `openModel`
 */
export async function exportedFile(
  file: RangedFile,
): Promise<CheckpointFolder> {
  const folder = await checkpointFile(file);
  const { metadata } = await readSafetensorsHead(file);
  const { step, config, tokenizer, results } = writtenRun(metadata)!;
  const model = await openModel(folder);
  return checkpointFolder(
    readCheckpointConfig(config),
    { step: step!, results },
    tokenizer ?? null,
    async function* ({ start, length }) {
      const values = await model.read(start, start + length);
      yield new Uint8Array(values.buffer);
    },
  );
}

/** Opens a checkpoint that is in memory. */
export function checkpointBytes(bytes: Uint8Array): Promise<Folder> {
  return checkpointFile({
    bytes: bytes.length,
    // `new Uint8Array` copies; `slice` of a Node Buffer would be a view.
    read: (start, end) =>
      Promise.resolve(new Uint8Array(bytes.subarray(start, end))),
  });
}
