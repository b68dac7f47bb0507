import { defineCommand } from "citty";
import { expected } from "../api/option-kinds.ts";
import { REPACK_OPTIONS } from "../api/options.ts";
import { readFolder } from "../checkpoints/read-heads.ts";
import {
  convertDirectory,
  convertDirectoryThere,
} from "./convert-directory.ts";
import { convertFile, edgeOf } from "./convert-file.ts";
import {
  checkArguments,
  fileArguments,
  outputArguments,
  UsageError,
} from "./file-arguments.ts";
import { argumentsOf, optionsFrom } from "./option-arguments.ts";
import { localFolder } from "./ranged-files.ts";
import { isDirectory } from "./send-files.ts";
import {
  checkNoShardSize,
  maxShardBytes,
  shardArguments,
} from "./shard-size.ts";

const args = {
  ...fileArguments,
  file: {
    ...fileArguments.file,
    description:
      "safetensors with tensors in MXFP4 or MXFP8, or a directory in MXFP4",
  },
  ...outputArguments,
  ...shardArguments,
  ...argumentsOf(REPACK_OPTIONS),
};

export const repackCommand = defineCommand({
  meta: {
    name: "repack",
    description:
      "Blocks of a file, or of a model's directory, in another layout: the same codes and scales",
  },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const options = optionsFrom(REPACK_OPTIONS, given);
    if (options.to === undefined)
      throw new UsageError(
        `Expected --to to be ${expected(REPACK_OPTIONS.to)}`,
      );
    const { file, output } = given as unknown as Record<string, string>;
    if (!isDirectory(file!)) {
      checkNoShardSize(given);
      await convertFile(given, { operation: "repack", options });
      return;
    }
    const request = {
      operation: "repack",
      options: { ...options, maxShardSize: maxShardBytes(given) },
    } as const;
    const force = given.force === true;
    const asJson = given.json === true;
    if (given.url !== undefined) {
      await convertDirectoryThere(
        edgeOf(given),
        file!,
        output!,
        force,
        request,
        asJson,
      );
      return;
    }
    await convertDirectory({
      from: file!,
      to: output!,
      asJson,
      force,
      checkpoint: await readFolder(localFolder(file!)),
      request,
    });
  },
});
