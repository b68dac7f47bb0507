/**
 * A model to start a run from: a transformers directory, a run's checkpoint, or a GGUF, alone or in a directory
 * without other weights.
 */
import { AppError } from "../api/errors.ts";
import { BYTE_VOCABULARY, MAX_VOCABULARY } from "../tokenizers/bpe.ts";
import { aloneGguf } from "../checkpoints/checkpoint.ts";
import { ggufFolder } from "../checkpoints/from-gguf/gguf-folder.ts";
import type { Folder } from "../checkpoints/read-heads.ts";
import type { HeadReading } from "../formats/containers/gguf-reader.ts";
import { ownTokenizer } from "../tokenizers/own-tokenizer.ts";
import type { ImportedRun } from "./imported-model.ts";

const TOKENIZER_FILE = "tokenizer.json";

/** The folder itself, or, if a GGUF is its only model, that GGUF as a folder. Errors: those of `ggufFolder` */
export async function trainedFolder(
  folder: Folder,
  reading?: HeadReading,
): Promise<Folder> {
  const gguf = aloneGguf((await folder.list()) ?? []);
  if (gguf === undefined) return folder;
  const open = (name: string) => folder.open(name);
  return (await ggufFolder(gguf, await open(gguf), open, reading)) ?? folder;
}

/**
 * Adds the folder's tokenizer, unless checkpoint metadata had one, if this project can tokenize a run's text with it.
 * Errors: `invalid_config` if the vocabulary is larger than a run's tokens can be
 */
export async function withTokenizer(
  folder: Folder,
  run: ImportedRun,
): Promise<ImportedRun> {
  const { vocabulary } = run.shape;
  if (vocabulary > MAX_VOCABULARY)
    throw new AppError(
      "invalid_config",
      `Expected a model with a vocabulary of at most ${MAX_VOCABULARY} ids, since a run's tokens have 16 bits, got ${vocabulary}`,
    );
  if (vocabulary === BYTE_VOCABULARY || run.tokenizer !== undefined) return run;
  const json = await folder.text(TOKENIZER_FILE);
  const tokenizer = json === undefined ? undefined : ownTokenizer(json);
  return { ...run, tokenizer };
}
