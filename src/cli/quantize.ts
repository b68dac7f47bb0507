import { type ArgsDef, defineCommand } from "citty";
import type { ValuesOf } from "../api/option-kinds.ts";
import { textName } from "../api/option-text.ts";
import { DIRECTORY_OPTIONS, QUANTIZE_OPTIONS } from "../api/options.ts";
import {
  NOT_OF_FOLDER,
  NOT_OF_FOLDER_TO_GGUF,
} from "../checkpoints/folder-request.ts";
import { isDirectory } from "../local/folders.ts";
import { flag } from "./argument.ts";
import { convertDirectoryThere } from "./convert-directory.ts";
import { convertFile, edgeOf } from "./convert-file.ts";
import {
  type Arguments,
  checkArguments,
  fileArguments,
  outputArguments,
  UsageError,
} from "./file-arguments.ts";
import { argumentsOf, optionsFrom } from "./option-arguments.ts";
import { quantizeDirectory } from "./quantize-directory.ts";
import { maxShardBytes, shardArguments } from "./shard-size.ts";
import { checkThere } from "./stdio.ts";

const args = {
  ...fileArguments,
  ...outputArguments,
  output: {
    ...outputArguments.output,
    required: false,
    description: "File or directory to write; required unless --show",
  },
  show: flag(
    "For a directory: print what would happen to each tensor, and why; write nothing",
  ),
  json: flag("Print what was written, or the output of --show, as JSON"),
  figures: flag(
    "For a directory: list each tensor's errors in README.md; takes twice as long",
  ),
  ...shardArguments,
  ...argumentsOf(DIRECTORY_OPTIONS),
  ...argumentsOf(QUANTIZE_OPTIONS),
} satisfies ArgsDef;

function refuse(
  given: Readonly<Record<string, unknown>>,
  names: readonly string[],
  of: string,
): void {
  const taken = names.find((name) => given[name] ?? false);
  if (taken !== undefined)
    throw new UsageError(`Expected no --${textName(taken)} ${of}`);
}

type FolderOptions = ValuesOf<
  typeof QUANTIZE_OPTIONS & typeof DIRECTORY_OPTIONS
>;

async function quantizeFolder(
  given: Arguments,
  options: FolderOptions,
): Promise<void> {
  const { file, output } = given as unknown as Record<string, string>;
  const all = { ...given, ...options };
  const withFigures = given.figures === true;
  const force = given.force === true;
  const isGguf = options.for === "llama.cpp";
  if (isGguf)
    refuse(
      { ...all, maxShardSize: given["max-shard-size"] },
      [...NOT_OF_FOLDER_TO_GGUF, "figures"],
      "of a directory for llama.cpp",
    );
  else refuse(all, NOT_OF_FOLDER, "of a directory for a loader of safetensors");
  const told = isGguf
    ? options
    : { ...options, maxShardSize: maxShardBytes(given) };
  const request = { operation: "quantize", options: told } as const;
  if (given.url !== undefined && output !== undefined) {
    if (options.for === undefined || withFigures)
      throw new UsageError(
        "Expected --for with --url and a directory, and no --figures",
      );
    await convertDirectoryThere(
      edgeOf(given),
      file!,
      output,
      force,
      request,
      given.json === true,
    );
    return;
  }
  await quantizeDirectory({
    from: file!,
    to: output,
    asJson: given.json === true,
    force,
    withFigures,
    options: told,
  });
}

export const quantizeCommand = defineCommand({
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const options = optionsFrom(QUANTIZE_OPTIONS, given);
    const directory = optionsFrom(DIRECTORY_OPTIONS, given);
    const { file, output } = given as unknown as Record<string, string>;
    const isShown = given.show === true;
    if (isShown && output !== undefined)
      throw new UsageError(
        `Expected no --output with --show, which writes nothing, got ${output}`,
      );
    if (!isShown && output === undefined)
      throw new UsageError("Expected --output, got none");
    if (isDirectory(file!)) {
      await quantizeFolder(given, { ...options, ...directory });
      return;
    }
    if (
      isShown ||
      given.figures === true ||
      (given.for ?? given["max-shard-size"] ?? given.rotate) !== undefined
    ) {
      checkThere(file!);
      throw new UsageError(
        "Expected a model's directory for --for, --max-shard-size, --rotate, --figures and --show, got a file",
      );
    }
    await convertFile(given, { operation: "quantize", options });
  },
});
