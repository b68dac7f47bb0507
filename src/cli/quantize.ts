import { statSync } from "node:fs";
import { type ArgsDef, defineCommand } from "citty";
import { DIRECTORY_OPTIONS, QUANTIZE_OPTIONS } from "../api/options.ts";
import { FILE_ONLY_OPTIONS } from "../checkpoints/folder-plan.ts";
import { convertFile } from "./convert-file.ts";
import {
  checkArguments,
  fileArguments,
  outputArguments,
  UsageError,
} from "./file-arguments.ts";
import { argumentsOf, optionsFrom } from "./option-arguments.ts";
import { quantizeDirectory } from "./quantize-directory.ts";
import { maxShardBytes, shardArguments } from "./shard-size.ts";

const args = {
  ...fileArguments,
  ...outputArguments,
  output: {
    ...outputArguments.output,
    required: false,
    description: "File or directory to write; required but for --show",
  },
  show: {
    type: "boolean",
    description:
      "Of a directory: print what would become of each tensor, and why; write nothing",
  },
  json: { type: "boolean", description: "What --show prints, as JSON" },
  figures: {
    type: "boolean",
    description:
      "Of a directory: README.md tells each tensor's errors, for as much work again",
  },
  ...shardArguments,
  ...argumentsOf(DIRECTORY_OPTIONS),
  ...argumentsOf(QUANTIZE_OPTIONS),
} satisfies ArgsDef;

export const quantizeCommand = defineCommand({
  meta: {
    name: "quantize",
    description: "Tensors of a file, or of a model's directory, to MXFP4",
  },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const options = optionsFrom(QUANTIZE_OPTIONS, given);
    const directory = optionsFrom(DIRECTORY_OPTIONS, given);
    const { file, output } = given as unknown as Record<string, string>;
    const most = given["max-shard-size"] as string | undefined;
    const isShown = given.show === true;
    if (given.json === true && !isShown)
      throw new UsageError("Expected --show with --json, got --json alone");
    if (isShown && output !== undefined)
      throw new UsageError(
        `Expected no --output with --show, which writes nothing, got ${output}`,
      );
    if (!isShown && output === undefined)
      throw new UsageError("Missing required argument: --output");
    if (statSync(file!, { throwIfNoEntry: false })?.isDirectory()) {
      const taken = ["url", ...FILE_ONLY_OPTIONS].find(
        (name) => given[name] ?? (options as Record<string, unknown>)[name],
      );
      if (taken !== undefined)
        throw new UsageError(`Expected no ${taken} for a directory`);
      await quantizeDirectory({
        from: file!,
        to: output,
        asJson: given.json === true,
        force: given.force === true,
        withFigures: given.figures === true,
        options: {
          ...options,
          ...directory,
          maxShardSize: maxShardBytes(given),
        },
      });
      return;
    }
    if (
      isShown ||
      given.figures === true ||
      (most ?? directory.for ?? directory.rotate) !== undefined
    )
      throw new UsageError(
        "Expected a model's directory for --for, --max-shard-size, --rotate, --figures and --show, got a file",
      );
    await convertFile(given, { operation: "quantize", options });
  },
});
