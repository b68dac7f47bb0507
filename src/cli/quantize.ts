import { defineCommand } from "citty";
import { QUANTIZE_OPTIONS } from "../api/options.ts";
import { convertFile } from "./convert-file.ts";
import {
  checkArguments,
  fileArguments,
  outputArguments,
} from "./file-arguments.ts";
import { argumentsOf, optionsFrom } from "./option-arguments.ts";

const args = {
  ...fileArguments,
  ...outputArguments,
  ...argumentsOf(QUANTIZE_OPTIONS),
};

export const quantizeCommand = defineCommand({
  meta: { name: "quantize", description: "A file's float tensors to MXFP4" },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const options = optionsFrom(QUANTIZE_OPTIONS, given);
    await convertFile(given, { operation: "quantize", options });
  },
});
