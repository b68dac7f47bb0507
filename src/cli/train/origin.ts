/** What a run goes on from, as `--from` names it: a checkpoint, or the directory of a model. */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { SINGLE_FILE } from "../../checkpoints/checkpoint.ts";
import type { Folder } from "../../checkpoints/read-heads.ts";
import { fileBlob } from "../files.ts";
import { localFile, localFolder } from "../ranged-files.ts";
import { isDirectory, type Sending, sendingsOf } from "../send-files.ts";
import type { Mxfp4Edge } from "../../client/mxfp4-edge.ts";
import { loadTrainingKernels } from "../../kernels/load-file.ts";
import { checkKind } from "../../training/checkpoint-file.ts";
import { type ImportedRun, openModel } from "../../training/imported-model.ts";

export type Origin = ImportedRun & { path: string };

/** Errors: what is there is no model, or one that is computed otherwise */
export async function openOrigin(path: string): Promise<Origin> {
  if (!statSync(path, { throwIfNoEntry: false }))
    throw new Error(
      `Expected --from to be a checkpoint or a model's directory, got ${path}`,
    );
  if (!isDirectory(path)) await checkKind(await localFile(path));
  loadTrainingKernels();
  const { shape, run, tokenizer } = await openModel(
    isDirectory(path) ? localFolder(path) : oneFile(path),
  );
  return { path: resolve(path), shape, run, tokenizer };
}

/**
 * Calls `body` with the name of a folder on the edge that holds it. A run that has begun has read all of it, so
 * then it goes.
 */
export async function withOrigin<T>(
  edge: Mxfp4Edge,
  { path }: Origin,
  body: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = `from-${crypto.randomUUID()}`;
  const sendings: Sending[] = isDirectory(path)
    ? await sendingsOf(path, folder, (file) =>
        /\.(safetensors|json)$/.test(file),
      )
    : [{ path, name: `${folder}/${SINGLE_FILE}` }];
  try {
    for (const { path: file, name } of sendings)
      await edge.putFile(name, await fileBlob(file));
    return await body(folder);
  } finally {
    await edge.removeFolder(folder);
  }
}

function oneFile(path: string): Folder {
  return {
    list: () => Promise.resolve([SINGLE_FILE]),
    text: () => Promise.resolve(undefined),
    open: () => localFile(path),
  };
}
