/** The model of `--from`: a checkpoint, a GGUF, or a model's directory. */
import { statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { aloneGguf, SINGLE_FILE } from "../../checkpoints/checkpoint.ts";
import { ggufFolder } from "../../checkpoints/from-gguf/gguf-folder.ts";
import { readGgufParts } from "../../checkpoints/gguf-parts.ts";
import type { Folder } from "../../checkpoints/read-heads.ts";
import { isDirectory } from "../../local/folders.ts";
import { fileBlob } from "../files.ts";
import { localBeside, localFolder } from "../ranged-files.ts";
import { type Sending, sendingsOf } from "../send-files.ts";
import type { Mxfp4Edge } from "../../client/mxfp4-edge.ts";
import { loadTrainingKernels } from "../../kernels/load-file.ts";
import { checkKind } from "../../training/checkpoint-file.ts";
import { type ImportedRun, openModel } from "../../training/imported-model.ts";
import { withTokenizer } from "../../training/model-folder.ts";

/** Name of a GGUF on the edge; parts also have their numbers. */
const GGUF_FILE = "model.gguf";

export type Origin = ImportedRun & { path: string };

/** Errors: no model, or an unsupported one */
export async function openOrigin(named: string): Promise<Origin> {
  if (!statSync(named, { throwIfNoEntry: false }))
    throw new Error(
      `Expected --from to be a checkpoint, a GGUF or a model's directory, got ${named}`,
    );
  const path = await pathOf(named);
  loadTrainingKernels();
  const folder = isDirectory(path) ? localFolder(path) : await fileFolder(path);
  const model = await withTokenizer(folder, await openModel(folder));
  const { shape, run, tokenizer } = model;
  return { path: resolve(path), shape, run, tokenizer };
}

/** For a directory that contains a single GGUF, that file. */
async function pathOf(named: string): Promise<string> {
  if (!isDirectory(named)) return named;
  const gguf = aloneGguf((await localFolder(named).list())!);
  return gguf === undefined ? named : join(named, gguf);
}

/** Errors: `malformed_body` for neither a GGUF nor a checkpoint; those of `ggufFolder` */
async function fileFolder(path: string): Promise<Folder> {
  const open = localBeside(path);
  const file = await open(basename(path));
  const gguf = await ggufFolder(basename(path), file, open);
  if (gguf) return gguf;
  await checkKind(file);
  return {
    list: () => Promise.resolve([SINGLE_FILE]),
    text: () => Promise.resolve(undefined),
    open: () => Promise.resolve(file),
  };
}

/**
 * Uploads the model to a temporary folder on the edge, and calls `body` with its name. A created run has read all of
 * it, so it is removed then.
 */
export async function withOrigin<T>(
  edge: Mxfp4Edge,
  { path }: Origin,
  body: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = `from-${crypto.randomUUID()}`;
  const sendings = await sendingsTo(folder, path);
  try {
    for (const { path: file, name } of sendings)
      await edge.putFile(name, await fileBlob(file));
    return await body(folder);
  } finally {
    await edge.removeFolder(folder);
  }
}

/** The files that the edge needs. */
async function sendingsTo(folder: string, path: string): Promise<Sending[]> {
  if (isDirectory(path))
    return sendingsOf(path, folder, (file) =>
      /\.(safetensors|json)$/.test(file),
    );
  const open = localBeside(path);
  const name = basename(path);
  const gguf = await readGgufParts(name, await open(name), open);
  const parts = gguf?.parts ?? [];
  if (parts.length > 1)
    return parts.map((part) => ({
      path: join(dirname(path), part.name),
      name: `${folder}/${part.name.replace(/^[^]*(?=-\d{5}-of-)/, "model")}`,
    }));
  return [{ path, name: `${folder}/${gguf ? GGUF_FILE : SINGLE_FILE}` }];
}
