import { defineCommand } from "citty";
import { DEQUANTIZE_OPTIONS } from "../api/options.ts";
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
    description: "safetensors or GGUF with MXFP4 tensors",
  },
  ...outputArguments,
  ...argumentsOf(DEQUANTIZE_OPTIONS),
};

export const dequantizeCommand = defineCommand({
  meta: { name: "dequantize", description: "A file's MXFP4 tensors to floats" },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const options = optionsFrom(DEQUANTIZE_OPTIONS, given);
    await convertFile(given, { operation: "dequantize", options });
  },
});
