/** A model to go on from: a directory of transformers, a run's checkpoint, or a GGUF, alone or in a directory without other weights. */
import { AppError } from "../api/errors.ts";
import { BYTE_VOCABULARY, MAX_VOCABULARY } from "../tokenizers/bpe.ts";
import { aloneGguf } from "../checkpoints/checkpoint.ts";
import { ggufFolder } from "../checkpoints/from-gguf/gguf-folder.ts";
import type { Folder } from "../checkpoints/read-heads.ts";
import type { HeadReading } from "../formats/containers/gguf-reader.ts";
import { ownTokenizer } from "../tokenizers/own-tokenizer.ts";
import type { ImportedRun } from "./imported-model.ts";

const TOKENIZER_FILE = "tokenizer.json";

/** The folder itself, or that of its GGUF. Errors: those of `ggufFolder` */
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
 * With the folder's tokenizer, where no metadata has told one, and a run's text can be cut by it. Errors: `invalid_config`, its
 * ids are more than a run's tokens can be
 */
export async function withTokenizer(
  folder: Folder,
  run: ImportedRun,
): Promise<ImportedRun> {
  const { vocabulary } = run.shape;
  if (vocabulary > MAX_VOCABULARY)
    throw new AppError(
      "invalid_config",
      `Expected a model of at most ${MAX_VOCABULARY} ids to go on training from, since a run's tokens have 16 bits, got one of ${vocabulary}`,
    );
  if (vocabulary === BYTE_VOCABULARY || run.tokenizer !== undefined) return run;
  const json = await folder.text(TOKENIZER_FILE);
  const tokenizer = json === undefined ? undefined : ownTokenizer(json);
  return { ...run, tokenizer };
}
