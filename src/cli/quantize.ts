import { statSync } from "node:fs";
import { type ArgsDef, defineCommand } from "citty";
import { textName } from "../api/option-text.ts";
import { DIRECTORY_OPTIONS, QUANTIZE_OPTIONS } from "../api/options.ts";
import { LOADERS } from "../api/scheme.ts";
import { FILE_ONLY_OPTIONS } from "../checkpoints/folder-plan.ts";
import { convertDirectoryThere } from "./convert-directory.ts";
import { convertFile, edgeOf } from "./convert-file.ts";
import {
  checkArguments,
  fileArguments,
  outputArguments,
  UsageError,
} from "./file-arguments.ts";
import { argumentsOf, optionsFrom } from "./option-arguments.ts";
import { quantizeDirectory } from "./quantize-directory.ts";
import { quantizeGguf } from "./quantize-gguf.ts";
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
  for: {
    type: "enum",
    options: [...LOADERS],
    description: DIRECTORY_OPTIONS.for.text,
  },
  ...argumentsOf(QUANTIZE_OPTIONS),
} satisfies ArgsDef;

const NOT_OF_ANY = ["url", "layout", "raw"];
const NOT_OF_DIRECTORY = FILE_ONLY_OPTIONS;
/** One file is written, and its tensors stand in another order than a rotation knows. */
const NOT_OF_GGUF = [...NOT_OF_ANY, "max-shard-size", "figures", "rotate"];

function refuse(
  given: Readonly<Record<string, unknown>>,
  names: readonly string[],
  of: string,
): void {
  const taken = names.find((name) => given[name] ?? false);
  if (taken !== undefined)
    throw new UsageError(`Expected no --${textName(taken)} ${of}`);
}

export const quantizeCommand = defineCommand({
  meta: {
    name: "quantize",
    description: "Tensors of a file, or of a model's directory, to MXFP4",
  },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const options = optionsFrom(QUANTIZE_OPTIONS, given);
    // One file comes of it, which jobs do not make: it is none of their loaders.
    const isGguf = given.for === "llama.cpp";
    const directory = optionsFrom(DIRECTORY_OPTIONS, {
      ...given,
      ...(isGguf ? { for: undefined } : {}),
    });
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
      const request = {
        from: file!,
        to: output,
        asJson: given.json === true,
        force: given.force === true,
        options,
      };
      const all = { ...given, ...options };
      if (isGguf) {
        refuse(all, NOT_OF_GGUF, "of a directory for llama.cpp");
        await quantizeGguf(request);
        return;
      }
      refuse(
        all,
        NOT_OF_DIRECTORY,
        "of a directory for a loader of safetensors",
      );
      if (given.url !== undefined && output !== undefined) {
        const asked = {
          ...options,
          ...directory,
          maxShardSize: maxShardBytes(given),
        };
        if (asked.for === undefined || given.figures === true)
          throw new UsageError(
            "Expected --for with --url and a directory, and no --figures",
          );
        const force = given.force === true;
        const there = { operation: "quantize", options: asked } as const;
        await convertDirectoryThere(edgeOf(given), file!, output, force, there);
        return;
      }
      await quantizeDirectory({
        ...request,
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
      (given.for ?? most ?? directory.rotate) !== undefined
    )
      throw new UsageError(
        "Expected a model's directory for --for, --max-shard-size, --rotate, --figures and --show, got a file",
      );
    await convertFile(given, { operation: "quantize", options });
  },
});
