import { statSync } from "node:fs";
import { defineCommand } from "citty";
import { DEQUANTIZE_OPTIONS } from "../api/options.ts";
import { convertFile, edgeOf } from "./convert-file.ts";
import { readFolder } from "../checkpoints/read-heads.ts";
import {
  convertDirectory,
  convertDirectoryThere,
} from "./convert-directory.ts";
import {
  checkArguments,
  fileArguments,
  outputArguments,
} from "./file-arguments.ts";
import { argumentsOf, optionsFrom } from "./option-arguments.ts";
import { localFolder } from "./ranged-files.ts";
import {
  checkNoShardSize,
  maxShardBytes,
  shardArguments,
} from "./shard-size.ts";

const args = {
  ...fileArguments,
  file: {
    ...fileArguments.file,
    description: "safetensors or GGUF with MXFP4 tensors, or a directory",
  },
  ...outputArguments,
  ...shardArguments,
  ...argumentsOf(DEQUANTIZE_OPTIONS),
};

export const dequantizeCommand = defineCommand({
  meta: {
    name: "dequantize",
    description: "MXFP4 tensors of a file, or of a directory, to floats",
  },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const options = optionsFrom(DEQUANTIZE_OPTIONS, given);
    const { file, output } = given as unknown as Record<string, string>;
    if (statSync(file!, { throwIfNoEntry: false })?.isDirectory()) {
      const maxShardSize = maxShardBytes(given);
      const request = {
        operation: "dequantize",
        options: { ...options, maxShardSize },
      } as const;
      const force = given.force === true;
      const asJson = given.json === true;
      if (given.url !== undefined) {
        const edge = edgeOf(given);
        await convertDirectoryThere(
          edge,
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
      return;
    }
    checkNoShardSize(given);
    await convertFile(given, { operation: "dequantize", options });
  },
});
