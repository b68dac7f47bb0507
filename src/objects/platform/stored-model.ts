/** Models in folders of the bucket: pinned by a digest of their files' versions, and read by ranges. */
import { jsonDigest } from "../../api/digest.ts";
import { AppError } from "../../api/errors.ts";
import type { PinnedModel } from "../../api/run-config.ts";
import { aloneGguf, isGgufFile } from "../../checkpoints/checkpoint.ts";
import type { Folder, RangedFile } from "../../checkpoints/read-heads.ts";
import type { HeadReading } from "../../formats/containers/gguf-reader.ts";
import { free } from "../../memory/free.ts";
import { isolateMemory, NOTHING } from "../../memory/ledger.ts";
import {
  type ImportedModel,
  type ImportedRun,
  openModel,
} from "../../training/imported-model.ts";
import { trainedFolder, withTokenizer } from "../../training/model-folder.ts";
import { fileKey, filesIn, inFolder } from "./stored-files.ts";

/** The files of a folder that determine the model. */
const MODEL_FILE = /\.safetensors$|^(config|tokenizer)\.json$|\.index\.json$/;

/** Pins the model in a folder. Errors: `file_not_found`, `unavailable`, and those of `openModel` and `withTokenizer` */
export async function pinModel(
  bucket: R2Bucket,
  folder: string,
): Promise<ImportedRun & { from: PinnedModel }> {
  const files = await trainedFiles(bucket, folder);
  let head = NOTHING;
  try {
    const model = await trainedFolder(folderOf(bucket, files), {
      async beforeLongHead(most) {
        head = await isolateMemory.reserve(most);
      },
    });
    const { shape, run, tokenizer } = await withTokenizer(
      model,
      await openModel(model),
    );
    const from = { folder, digest: await digestOf(files) };
    return { shape, run, tokenizer, from };
  } finally {
    head.release();
  }
}

/** Shards do not read a GGUF's vocabulary, which is most of its header. */
const PARAMETERS_ALONE: HeadReading = {
  keeps: (key) => !key.startsWith("tokenizer."),
};

/** Opens a pinned model. Errors: `file_changed` if the folder has another one now */
export async function openPinned(
  bucket: R2Bucket,
  { folder, digest }: PinnedModel,
): Promise<ImportedModel> {
  const files = await trainedFiles(bucket, folder);
  if ((await digestOf(files)) === digest)
    return openModel(
      await trainedFolder(folderOf(bucket, files), PARAMETERS_ALONE),
    );
  throw new AppError(
    "file_changed",
    `Expected the model in folder "${folder}" as it was when the run was created, got another version`,
  );
}

/** The files of a folder's model: if a GGUF is the only model, that GGUF alone. Errors: `file_not_found` */
async function trainedFiles(
  bucket: R2Bucket,
  folder: string,
): Promise<ModelFiles> {
  const { files } = inFolder(folder, await filesIn(bucket, folder));
  const gguf = aloneGguf([...files.keys()]);
  return gguf === undefined
    ? modelFiles(bucket, folder)
    : new Map([...files].filter(([name]) => isGgufFile(name)));
}

/** The files that determine the model and its tokenization. */
const TEXT_MODEL_FILE = new RegExp(
  `${MODEL_FILE.source}|^tokenizer_config\\.json$`,
);

/** Opens a folder to generate text; `digest` identifies its present contents. Errors: `file_not_found` */
export async function openTextFolder(
  bucket: R2Bucket,
  folder: string,
): Promise<{ digest: string; folder: Folder }> {
  const files = await modelFiles(bucket, folder, TEXT_MODEL_FILE);
  return { digest: await digestOf(files), folder: folderOf(bucket, files) };
}

export async function hasStored(
  bucket: R2Bucket,
  name: string,
): Promise<boolean> {
  return (await bucket.head(fileKey(name))) !== null;
}

/** Opens a file to read parts of; `digest` identifies its present version. Errors: `file_not_found` */
export async function openStored(
  bucket: R2Bucket,
  name: string,
): Promise<{ digest: string; file: RangedFile }> {
  const object = await bucket.head(fileKey(name));
  if (!object)
    throw new AppError("file_not_found", `Expected a file "${name}", got none`);
  const files = new Map([[name, object]]);
  const file = await folderOf(bucket, files).open(name);
  return { digest: await digestOf(files), file };
}

type ModelFiles = ReadonlyMap<string, R2Object>;

async function modelFiles(
  bucket: R2Bucket,
  folder: string,
  wanted = MODEL_FILE,
): Promise<ModelFiles> {
  const { files } = inFolder(folder, await filesIn(bucket, folder));
  const found = new Map([...files].filter(([name]) => wanted.test(name)));
  if (found.size > 0) return found;
  throw new AppError(
    "file_not_found",
    `Expected a folder with a model in it, got "${folder}"`,
  );
}

function digestOf(files: ModelFiles): Promise<string> {
  const told = Array.from(files, ([name, { size, etag }]) => [
    name,
    size,
    etag,
  ]);
  return jsonDigest(told);
}

function folderOf(bucket: R2Bucket, files: ModelFiles): Folder {
  const read = async (
    { key, etag }: R2Object,
    offset: number,
    length: number,
  ): Promise<Uint8Array> => {
    const object = await bucket.get(key, {
      range: { offset, length },
      onlyIf: { etagMatches: etag },
    });
    if (object && "body" in object)
      return new Uint8Array(await object.arrayBuffer());
    throw new AppError(
      "file_changed",
      `Expected ${key} as it was listed, got another version`,
    );
  };
  return {
    list: () => Promise.resolve([...files.keys()]),
    async text(name) {
      const file = files.get(name);
      if (!file) return undefined;
      const bytes = await read(file, 0, file.size);
      const text = new TextDecoder().decode(bytes);
      free(bytes);
      return text;
    },
    open(name) {
      const file = files.get(name);
      if (!file)
        throw new AppError(
          "file_not_found",
          `Expected ${name} in the folder, got none`,
        );
      return Promise.resolve({
        bytes: file.size,
        read: (start: number, end: number) => read(file, start, end - start),
      });
    },
  };
}
