import { defineCommand } from "citty";
import type { DequantizeOptions } from "../api/tensors.ts";
import { convertFile } from "./convert-file.ts";
import {
  checkArguments,
  choices,
  fileArguments,
  outputArguments,
} from "./file-arguments.ts";

const args = {
  ...fileArguments,
  file: {
    ...fileArguments.file,
    description: "safetensors or GGUF with MXFP4 tensors",
  },
  ...outputArguments,
  dtype: choices(["f32", "bf16", "f16"], "Of decoded tensors (default: f32)"),
};

export const dequantizeCommand = defineCommand({
  meta: { name: "dequantize", description: "A file's MXFP4 tensors to floats" },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const options = { dtype: given.dtype } as DequantizeOptions;
    await convertFile(given, { operation: "dequantize", options });
  },
});
