import { defineCommand } from "citty";
import { REPACK_OPTIONS } from "../api/options.ts";
import { convertFile } from "./convert-file.ts";
import {
  checkArguments,
  fileArguments,
  outputArguments,
} from "./file-arguments.ts";
import { argumentsOf, optionsFrom } from "./option-arguments.ts";

const args = {
  ...fileArguments,
  file: {
    ...fileArguments.file,
    description: "safetensors with tensors in MXFP4 or MXFP8",
  },
  ...outputArguments,
  ...argumentsOf(REPACK_OPTIONS),
};

export const repackCommand = defineCommand({
  meta: {
    name: "repack",
    description: "A file's blocks in another layout: the same codes and scales",
  },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const options = optionsFrom(REPACK_OPTIONS, given);
    await convertFile(given, { operation: "repack", options });
  },
});
