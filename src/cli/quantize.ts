import { defineCommand } from "citty";
import { convertFile } from "./convert-file.ts";
import {
  checkArguments,
  fileArguments,
  layoutArguments,
  outputArguments,
  quantizeOptionsFrom,
  schemeArguments,
  selectionArguments,
} from "./file-arguments.ts";

const args = {
  ...fileArguments,
  ...outputArguments,
  ...schemeArguments,
  ...layoutArguments,
  ...selectionArguments,
};

export const quantizeCommand = defineCommand({
  meta: { name: "quantize", description: "A file's float tensors to MXFP4" },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const options = quantizeOptionsFrom(given);
    await convertFile(given, { operation: "quantize", options });
  },
});
