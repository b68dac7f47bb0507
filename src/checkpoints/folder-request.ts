/** Which operations and options are valid for a model directory, and which only for a file. */
import { expected, invalidOption } from "../api/option-kinds.ts";
import { DIRECTORY_OPTIONS, SHARD_OPTIONS } from "../api/options.ts";
import type { JobOperation } from "../api/tensors.ts";
import { checkScheme } from "../formats/blocks/block-formats.ts";
import { schemeOf } from "../formats/blocks/scheme.ts";
import { toldLayout } from "../formats/operations/file-operation.ts";
import { namedSchemes } from "../formats/operations/named-schemes.ts";
import { typeRules } from "../formats/operations/tensor-types.ts";

/** Operations on a directory. */
export type FolderRequest = Extract<
  JobOperation,
  { operation: "quantize" | "dequantize" | "repack" }
>;

/** Options only for files; in a directory, the loader determines them. */
export const NOT_OF_FOLDER = [
  "layout",
  "raw",
  "outputType",
  "tensorType",
] as const;
/** Not for a GGUF, which is a single file, and whose tensor order a rotation does not support. */
export const NOT_OF_FOLDER_TO_GGUF = [
  "layout",
  "raw",
  "maxShardSize",
  "rotate",
] as const;

/** Whether a folder is converted to a single GGUF. */
export function makesGguf({ operation, options }: JobOperation): boolean {
  return operation === "quantize" && options?.for === "llama.cpp";
}

/** Options of a request that are invalid for a folder. */
function notOfFolder(request: JobOperation): readonly string[] {
  if (makesGguf(request)) return NOT_OF_FOLDER_TO_GGUF;
  if (request.operation !== "analyze") return NOT_OF_FOLDER;
  const { for: loader } = request.options ?? {};
  if (loader === undefined) return ["raw"];
  return loader === "llama.cpp" ? ["raw", "rotate"] : ["raw", "outputType"];
}

/** Checked before anything is read. Errors: `invalid_option` */
export function checkFolderRequest(request: JobOperation): void {
  const { operation } = request;
  if (operation === "hadamard")
    throw invalidOption(
      "a file to hadamard, or quantize, dequantize, repack or analyze",
      "a folder",
    );
  const options: Record<string, unknown> = request.options ?? {};
  const taken = notOfFolder(request).find(
    (name) => options[name] !== undefined,
  );
  const of =
    options.for === "llama.cpp" ? "a folder for llama.cpp" : "a folder";
  if (taken !== undefined)
    throw invalidOption(`no \`${taken}\` for ${of}`, `\`${taken}\``);
  if (operation === "repack") toldLayout(options);
  if (operation === "quantize" && options.for === undefined)
    throw invalidOption(
      `\`for\` to be ${expected(DIRECTORY_OPTIONS.for)}, as a folder needs it`,
      "nothing",
    );
}

/** Checks that do not depend on the input, before a job is created. Errors: `invalid_option` */
export function checkOptionsAlone(request: JobOperation): void {
  switch (request.operation) {
    case "quantize": {
      const { options = {} } = request;
      checkScheme(schemeOf(options));
      typeRules(options.tensorType ?? []);
      return;
    }
    case "analyze": {
      const { options = {} } = request;
      const named = namedSchemes(options, options.compare);
      // With a loader, unsupported schemes are listed as refused instead.
      if (options.for === undefined)
        for (const { scheme } of named) checkScheme(scheme);
      return;
    }
    case "repack":
      toldLayout(request.options);
      return;
    case "dequantize":
    case "hadamard":
  }
}

/** Errors: `invalid_option` for options that only folders have */
export function checkFileRequest({
  operation,
  options = {},
}: JobOperation): void {
  const folderOptions = { ...DIRECTORY_OPTIONS, ...SHARD_OPTIONS };
  const taken = Object.keys(folderOptions).find(
    (name) => name in options && !(operation === "analyze" && name === "for"),
  );
  if (taken !== undefined)
    throw invalidOption(`a folder for \`${taken}\``, "a file");
}
