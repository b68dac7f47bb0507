/** A model to go on from: a directory of transformers, a run's checkpoint, or a GGUF, alone or in a directory without other weights. */
import { AppError } from "../api/errors.ts";
import { BYTE_VOCABULARY, MAX_VOCABULARY } from "../tokenizers/bpe.ts";
import { aloneGguf } from "../checkpoints/checkpoint.ts";
import { ggufFolder } from "../checkpoints/from-gguf/gguf-folder.ts";
import type { Folder, RangedFile } from "../checkpoints/read-heads.ts";
import { ownTokenizer } from "../tokenizers/own-tokenizer.ts";
import type { ImportedRun } from "./imported-model.ts";

const TOKENIZER_FILE = "tokenizer.json";

/** The folder itself, or that of its GGUF. Errors: those of `trainedGguf` */
export async function trainedFolder(folder: Folder): Promise<Folder> {
  const gguf = aloneGguf((await folder.list()) ?? []);
  if (gguf === undefined) return folder;
  return (await trainedGguf(await folder.open(gguf))) ?? folder;
}

/** Undefined of a file that is none. Errors: `invalid_config`, its vocabulary is no run's; those of `ggufFolder` */
export function trainedGguf(file: RangedFile): Promise<Folder | undefined> {
  return ggufFolder(file, () => {
    throw new AppError(
      "invalid_config",
      `Expected a GGUF with less than a MiB before its tensors, as those of at most ${MAX_VOCABULARY} ids have, to go on training from, got more`,
    );
  });
}

/** With the folder's tokenizer, where no metadata has told one, and a run's text can be cut by it. */
export async function withTokenizer(
  folder: Folder,
  run: ImportedRun,
): Promise<ImportedRun> {
  const { vocabulary } = run.shape;
  const isBytes = vocabulary === BYTE_VOCABULARY;
  if (isBytes || run.tokenizer !== undefined || vocabulary > MAX_VOCABULARY)
    return run;
  const json = await folder.text(TOKENIZER_FILE);
  const tokenizer = json === undefined ? undefined : ownTokenizer(json);
  return { ...run, tokenizer };
}
