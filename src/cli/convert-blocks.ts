/** `dequantize` and `repack`: convert quantized tensors of a file or a directory, here or on an edge. */
import type { ArgsDef } from "citty";
import { expected, type Options, type ValuesOf } from "../api/option-kinds.ts";
import { DEQUANTIZE_OPTIONS, REPACK_OPTIONS } from "../api/options.ts";
import type { FileOperation } from "../api/tensors.ts";
import type { FolderRequest } from "../checkpoints/folder-request.ts";
import { readFolder } from "../checkpoints/read-heads.ts";
import { isDirectory } from "../local/folders.ts";
import {
  convertDirectory,
  convertDirectoryThere,
} from "./convert-directory.ts";
import { convertFile, edgeOf } from "./convert-file.ts";
import {
  type Arguments,
  checkArguments,
  fileArguments,
  outputArguments,
  UsageError,
} from "./file-arguments.ts";
import { argumentsOf, optionsFrom } from "./option-arguments.ts";
import { localFolder } from "./ranged-files.ts";
import {
  checkNoShardSize,
  maxShardBytes,
  shardArguments,
} from "./shard-size.ts";

type Request = Extract<
  FileOperation & FolderRequest,
  { operation: "dequantize" | "repack" }
>;

function blocksCommand<T extends Options>({
  file,
  table,
  requestOf,
}: {
  /** Description of the input. */
  file: string;
  table: T;
  requestOf: (options: ValuesOf<T> & { maxShardSize?: number }) => Request;
}) {
  const args = {
    ...fileArguments,
    file: { ...fileArguments.file, description: file },
    ...outputArguments,
    ...shardArguments,
    ...argumentsOf(table),
  } satisfies ArgsDef;
  return {
    args,
    async run(context: Parameters<typeof checkArguments>[0]): Promise<void> {
      const given = checkArguments(context, args);
      const options = optionsFrom(table, given);
      const request = requestOf(options);
      if (!isDirectory(given.file as string)) {
        checkNoShardSize(given);
        await convertFile(given, request);
        return;
      }
      const maxShardSize = maxShardBytes(given);
      await convertFolder(given, requestOf({ ...options, maxShardSize }));
    },
  };
}

async function convertFolder(
  given: Arguments,
  request: Request,
): Promise<void> {
  const { file, output } = given as unknown as Record<string, string>;
  const [from, to] = [file!, output!];
  const force = given.force === true;
  const asJson = given.json === true;
  if (given.url !== undefined) {
    const edge = edgeOf(given);
    await convertDirectoryThere(edge, from, to, force, request, asJson);
    return;
  }
  const checkpoint = await readFolder(localFolder(from));
  await convertDirectory({ from, to, asJson, force, checkpoint, request });
}

export const dequantizeCommand = blocksCommand({
  file: "safetensors or GGUF with quantized tensors, or a model directory",
  table: DEQUANTIZE_OPTIONS,
  requestOf: (options) => ({ operation: "dequantize", options }),
});

export const repackCommand = blocksCommand({
  file: "safetensors with MXFP4 or MXFP8 tensors, or a model directory in MXFP4",
  table: REPACK_OPTIONS,
  requestOf(options) {
    if (options.to === undefined)
      throw new UsageError(
        `Expected --to to be ${expected(REPACK_OPTIONS.to)}`,
      );
    return { operation: "repack", options };
  },
});
