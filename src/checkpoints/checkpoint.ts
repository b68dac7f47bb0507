/**
 * A model directory as one ordered list of tensors, whichever files contain them. Files are named by
 * `model.safetensors.index.json`, or there is only `model.safetensors`.
 */
import { isObject, MAX_JSON_LEVELS, parseJson } from "../api/json.ts";
import { quoted, shownJson } from "../formats/containers/malformed.ts";
import { firstOfSplit } from "../formats/containers/gguf-split.ts";
import type { Dtype } from "../formats/dtype.ts";
import { AppError } from "../api/errors.ts";
import type { TensorRange } from "../formats/tensor.ts";
import { compareNames } from "../formats/tensor.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";

export const SINGLE_FILE = "model.safetensors";
export const INDEX_FILE = "model.safetensors.index.json";
export const CONFIG_FILE = "config.json";
const GGUF_ENDING = ".gguf";
/** Weight files of other formats. */
export const OTHER_WEIGHTS = /\.(bin|pt|pth|gguf|onnx|h5|msgpack|ot)$/;
/** Prefix of optimizer state in a run's `state=full` checkpoint. */
export const OPTIMIZER = "optimizer.";

/** A tensor with its file and its byte range there, from the start of the file. */
export type CheckpointTensor = TensorRange<Dtype> & {
  file: string;
  /** The file stores the transpose of the matrix. */
  turned?: true | undefined;
  /** Rows per attention head, if the rows of its two halves are interleaved. */
  headRows?: number;
};

/** A matrix in ggml's blocks along its rows; `shape` is that of the file, also if `turned`. */
export type GgmlTensor = TensorRange<"MXFP4" | "Q8_0"> &
  Pick<CheckpointTensor, "file" | "headRows" | "turned">;

/** Whether a tensor is optimizer state. */
export function isOptimizers(name: string): boolean {
  return name.startsWith(OPTIMIZER);
}

export type Checkpoint = {
  /** Sorted by name in code-unit order: the position keys a tensor's noise, however files are split. */
  tensors: readonly CheckpointTensor[];
  /** Quantized tensors of a GGUF. */
  ggml?: readonly GgmlTensor[];
  config: ModelConfig | undefined;
  /** A file with quantization metadata, if there is one; reading it only by names would be wrong. */
  recorded?: string | undefined;
  /** Metadata of the files. */
  metadata?: ReadonlyMap<string, string>;
};

/**
 * The files of a directory that contain its tensors. Errors: `file_not_found` if there are none, or a file named by
 * the index is missing; `malformed_body`
 */
export function tensorFiles(
  names: readonly string[],
  index: string | undefined,
  folders: readonly string[] = [],
): string[] {
  if (index === undefined) {
    if (names.includes(SINGLE_FILE)) return [SINGLE_FILE];
    const alone = names.filter((name) => name.endsWith(".safetensors"));
    if (alone.length === 1) return alone;
    const found = alone.length > 0 ? alone.join(", ") : none(names, folders);
    throw new AppError(
      "file_not_found",
      `Expected ${SINGLE_FILE}, ${INDEX_FILE} or one .safetensors file, got ${found}`,
    );
  }
  const files = [...new Set(readIndex(index).values())].toSorted(compareNames);
  const missing = files.filter((file) => !names.includes(file));
  if (missing.length === 0) return files;
  throw new AppError(
    "file_not_found",
    `Expected the files that ${INDEX_FILE} names, got none of the name ${someOf(missing)}`,
  );
}

/** The only GGUF (or the first part of the only split one) among these file names, if there is no safetensors file. */
export function aloneGguf(names: readonly string[]): string | undefined {
  const found = names.filter(isGgufFile);
  const isModel = names.some((name) => name.endsWith(".safetensors"));
  if (isModel) return undefined;
  return found.length > 1 ? firstOfSplit(found) : found[0];
}

export function isGgufFile(name: string): boolean {
  return name.endsWith(GGUF_ENDING);
}

/** Describes the weight files found instead of safetensors. */
function none(names: readonly string[], folders: readonly string[]): string {
  const others = names.filter((name) => OTHER_WEIGHTS.test(name));
  const isNamedItself = others.some(isGgufFile);
  const hints = [
    ...(others.length > 0
      ? [`${others.join(", ")} is no safetensors, and not read`]
      : []),
    ...(isNamedItself ? ["a GGUF is named itself"] : []),
    ...(folders.length > 0 ? [`a model may lie in ${folders.join(", ")}`] : []),
  ];
  return ["none", ...hints].join("; ");
}

/** `weight_map`: the file of each tensor. Errors: `malformed_body` */
export function readIndex(index: string): Map<string, string> {
  const parsed = parsedFile(index, INDEX_FILE);
  const map = isObject(parsed) ? parsed.weight_map : undefined;
  if (!isObject(map)) throw malformedIndex("a `weight_map`", "none");
  const files = new Map<string, string>();
  for (const [name, file] of Object.entries(map)) {
    // A path could lead outside the directory, and half of a pair of surrogates is in no name of a file or URL.
    if (typeof file !== "string" || /[/\\\p{Surrogate}]|^\.*$/u.test(file))
      throw malformedIndex(
        `the file of ${quoted(name)} to be a name beside it`,
        shownJson(file),
      );
    files.set(name, file);
  }
  return files;
}

/** All tensors of all files. Errors: `malformed_body` for a tensor in two files, or if index and files differ */
export function checkpointOf(
  files: ReadonlyMap<string, readonly TensorRange<Dtype>[]>,
  index: string | undefined,
  config: ModelConfig | undefined,
): Checkpoint {
  const found = new Map<string, CheckpointTensor>();
  for (const [file, tensors] of files) {
    for (const tensor of tensors) {
      const other = found.get(tensor.name);
      if (other)
        throw new AppError(
          "malformed_body",
          `Expected each tensor in one file, got ${quoted(tensor.name)} in ${other.file} and ${file}`,
        );
      found.set(tensor.name, { ...tensor, file });
    }
  }
  if (index !== undefined) checkIndex(readIndex(index), found);
  const tensors = [...found.values()].sort((a, b) =>
    compareNames(a.name, b.name),
  );
  return { tensors, config };
}

function checkIndex(
  index: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, CheckpointTensor>,
): void {
  for (const [name, file] of index) {
    const place = found.get(name)?.file ?? "no file";
    if (place !== file)
      throw malformedIndex(`${quoted(name)} in ${file}`, `it in ${place}`);
  }
  const unnamed = [...found.keys()].find((name) => !index.has(name));
  if (unnamed !== undefined)
    throw malformedIndex(
      "every tensor of its files",
      `${quoted(unnamed)} in ${found.get(unnamed)!.file} alone`,
    );
}

/** Parses a config.json. Errors: `malformed_body` */
export function readConfig(json: string): ModelConfig {
  const config = parsedFile(json, CONFIG_FILE);
  if (isObject(config)) return config;
  throw new AppError(
    "malformed_body",
    `Expected ${CONFIG_FILE} to hold an object, got ${json.slice(0, 40)}`,
  );
}

function parsedFile(json: string, file: string): unknown {
  try {
    // Some editors write a byte order mark, which is not JSON.
    return parseJson(json.replace(/^\uFEFF/, ""));
  } catch (cause) {
    throw new AppError(
      "malformed_body",
      `Expected ${file} to be JSON of at most ${MAX_JSON_LEVELS} levels, got "${json.slice(0, 40)}"`,
      { cause },
    );
  }
}

/** The first of these names, and how many more there are. */
function someOf(names: readonly string[]): string {
  const first = names.slice(0, 5).join(", ");
  return names.length > 5 ? `${first} and ${names.length - 5} more` : first;
}

function malformedIndex(expected: string, got: string): AppError {
  return new AppError(
    "malformed_body",
    `Expected ${INDEX_FILE} to have ${expected}, got ${got}`,
  );
}
