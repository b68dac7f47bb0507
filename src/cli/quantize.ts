import { statSync } from "node:fs";
import { type ArgsDef, defineCommand } from "citty";
import { DIRECTORY_OPTIONS, QUANTIZE_OPTIONS } from "../api/options.ts";
import { type Target, TARGETS } from "../checkpoints/targets.ts";
import { convertFile } from "./convert-file.ts";
import {
  checkArguments,
  fileArguments,
  outputArguments,
  UsageError,
} from "./file-arguments.ts";
import { argumentsOf, optionsFrom } from "./option-arguments.ts";
import { quantizeDirectory } from "./quantize-directory.ts";

const DEFAULT_SHARD = "5GB";

const args = {
  ...fileArguments,
  ...outputArguments,
  for: {
    type: "enum",
    options: [...TARGETS],
    description: "Of a model's directory: the loader that takes the output",
  },
  "max-shard-size": {
    type: "string",
    valueHint: "5GB",
    description: `Of a directory: tensors' bytes in one file, at most (default: ${DEFAULT_SHARD})`,
  },
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
    const { rotate } = optionsFrom(DIRECTORY_OPTIONS, given);
    const { file, output } = given as unknown as Record<string, string>;
    const target = given.for as Target | undefined;
    const most = given["max-shard-size"] as string | undefined;
    if (statSync(file!, { throwIfNoEntry: false })?.isDirectory()) {
      const taken = ["url", "layout", "raw", "outputType"].find(
        (name) => given[name] ?? (options as Record<string, unknown>)[name],
      );
      if (taken !== undefined)
        throw new UsageError(`Expected no ${taken} for a directory`);
      await quantizeDirectory({
        from: file!,
        to: output!,
        target,
        maxShardBytes: bytesOf(most ?? DEFAULT_SHARD),
        force: given.force === true,
        rotate,
        options,
      });
      return;
    }
    if ((target ?? most ?? rotate) !== undefined)
      throw new UsageError(
        "Expected a model's directory for --for, --max-shard-size and --rotate, got a file",
      );
    await convertFile(given, { operation: "quantize", options });
  },
});

/** `5GB`, `500MB`, `1000000`: powers of 1000, as transformers has them. */
function bytesOf(text: string): number {
  const told = /^(\d+(?:\.\d+)?)\s*([KMGT]?)B?$/i.exec(text);
  const bytes = told
    ? Number(told[1]) * 1000 ** " KMGT".indexOf(told[2]!.toUpperCase() || " ")
    : 0;
  if (bytes >= 1) return Math.floor(bytes);
  throw new UsageError(
    `Expected --max-shard-size as in 5GB or 500MB, got "${text}"`,
  );
}
