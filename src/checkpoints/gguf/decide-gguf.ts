/** Decides the type of each tensor in the GGUF made from a directory. */
import { AppError } from "../../api/errors.ts";
import type { GgufOutput } from "../../api/scheme.ts";
import { ggufTensor } from "../../formats/containers/gguf-file.ts";
import { ggufTensorBytes } from "../../formats/containers/gguf-types.ts";
import { isFloat, type StoredType } from "../../formats/dtype.ts";
import {
  matches,
  type Selection,
} from "../../formats/operations/name-patterns.ts";
import { checkMatches } from "../../formats/operations/nothing-done.ts";
import { decideGguf } from "../../formats/operations/selection-rules.ts";
import {
  checkTypes,
  STORED_TYPES,
  toldType,
  type TypeRule,
  typeRules,
} from "../../formats/operations/tensor-types.ts";
import { ggufRole } from "../../formats/roles/gguf-rules.ts";
import { compareNames, type TensorHead } from "../../formats/tensor.ts";
import type { Checkpoint, CheckpointTensor } from "../checkpoint.ts";
import { float8Reads } from "../float8-parts.ts";
import { storedBlocks } from "../stored-blocks.ts";
import { type GgufModel, ggufModel } from "./architectures.ts";
import { notComputed } from "./hyperparameters.ts";
import {
  isParameter,
  type MadeTensor,
  madeTensors,
  type Source,
} from "./made-tensors.ts";
import { LOADED_FORMAT } from "../targets.ts";

const HEAD = "output.weight";
const TABLE = "token_embd.weight";

export type GgufChoices = {
  selection: Selection;
  output: GgufOutput;
  /** `pattern=type`. */
  types: readonly string[];
};

export type DecidedTensor = MadeTensor & {
  becomes: StoredType;
  reason: string;
};

export type DecidedGguf = { model: GgufModel; tensors: DecidedTensor[] };

/**
 * Patterns match llama.cpp's names or the checkpoint's. Errors: those of `ggufModel`, `madeTensors`; `invalid_option`
 * for a pattern without effect; `unsupported_dtype`
 */
export function decideGgufDirectory(
  checkpoint: Checkpoint,
  { selection, output, types }: GgufChoices,
): DecidedGguf {
  const model = ggufModel(checkpoint.config);
  const made = withHead(madeTensors(sourcesOf(checkpoint), model.names), model);
  const rules = typeRules(types);
  const names = made.flatMap(({ name, sources }) => [name, ...sources]);
  checkMatches("include", selection.include, names);
  checkMatches("exclude", selection.exclude, names);
  checkTypes(rules, made, (_, i) => [made[i]!.name, ...made[i]!.sources]);
  const tensors = made.map((tensor): DecidedTensor => {
    const called = [tensor.name, ...tensor.sources];
    if (!isAsked(tensor, called, selection, rules))
      return keptAs(tensor, "not asked for");
    const choice = { include: selection.include, output, types: rules };
    // F64 is read as F32.
    const head =
      tensor.dtype === "F64" ? { ...tensor, dtype: "F32" as const } : tensor;
    const { becomes, reason } = decideGguf(head, called, choice);
    if (becomes === "keep") return keptAs(tensor, reason);
    const type = becomes === "blocks" ? "MXFP4" : STORED_TYPES[becomes];
    return { ...tensor, becomes: type, reason };
  });
  return { model, tensors };
}

/** Errors: `invalid_option` if the model has no tensor of this name */
export function tensorOf(
  { tensors }: DecidedGguf,
  name: string,
): DecidedTensor {
  const found = tensors.find((tensor) => tensor.name === name);
  if (found) return found;
  throw new AppError(
    "invalid_option",
    `Expected a checkpoint with llama.cpp's ${name}, got one without`,
  );
}

/** Bytes of a tensor in the GGUF, without padding. */
export function decidedBytes({ name, shape, becomes }: DecidedTensor): number {
  return ggufTensorBytes(ggufTensor({ name, shape, dtype: becomes }));
}

function isAsked(
  tensor: TensorHead,
  called: readonly string[],
  { include, exclude }: Selection,
  rules: readonly TypeRule[],
): boolean {
  const isNamedBy = (patterns: readonly string[]) =>
    called.some((name) => patterns.some((each) => matches(each, name)));
  if (isNamedBy(exclude)) return false;
  if (include.length === 0 || isNamedBy(include)) return true;
  return toldType(rules, called, tensor) !== undefined;
}

/** A tensor that is not quantized keeps its type, except where llama.cpp requires F32, or its converter writes it. */
function keptAs(tensor: MadeTensor, reason: string): DecidedTensor {
  const { name, shape, dtype, change } = tensor;
  const { kind } = ggufRole(name, shape.toReversed());
  const wantsF32 =
    dtype === "F64" ||
    kind === "floats" ||
    kind === "left" ||
    change !== undefined;
  return { ...tensor, becomes: wantsF32 ? "F32" : dtype, reason };
}

/** The checkpoint's tensors; quantized ones under the names of their decoded tensors. */
function sourcesOf(checkpoint: Checkpoint): Source[] {
  const tensors = checkpoint.tensors.filter(({ name }) => isParameter(name));
  const { packed, float8, others } = storedBlocks({ ...checkpoint, tensors });
  return [
    ...packed.map(({ name, shape, parts, layout }): Source => {
      if (layout.format !== LOADED_FORMAT)
        throw notComputed("blocks of MXFP4", `${layout.format} in "${name}"`);
      const own = parts as readonly CheckpointTensor[];
      return { name, shape, dtype: "MXFP4", parts: own.toReversed() };
    }),
    ...Array.from(float8, ([name, own]): Source => {
      const { shape } = own.weight;
      // Those that are not quantized to MXFP4 become BF16, as for other loaders.
      return {
        name,
        shape,
        dtype: "BF16",
        float8: own,
        parts: float8Reads(own),
      };
    }),
    ...others.map((tensor): Source => {
      const { name, shape, dtype } = tensor;
      if (!isFloat(dtype))
        throw new AppError(
          "unsupported_dtype",
          `Expected floats, FP8, and blocks of MXFP4, got tensor "${name}" of ${dtype}`,
        );
      return { name, shape, dtype, parts: [tensor] };
    }),
  ];
}

/**
 * Adds the output head if necessary. Without one, llama.cpp uses the token embedding, which is copied if it must be
 * scaled.
 */
function withHead(
  made: readonly MadeTensor[],
  { isTied, tiedScale }: GgufModel,
): readonly MadeTensor[] {
  if (made.some(({ name }) => name === HEAD)) return made;
  if (!isTied)
    throw new AppError(
      "invalid_option",
      "Expected a model with a head, or one that is tied to its table of tokens, got neither: llama.cpp would predict nothing",
    );
  const table = made.find(({ name }) => name === TABLE);
  if (tiedScale === undefined || table === undefined) return made;
  if (table.dtype === "MXFP4")
    throw notComputed(
      "a tied head of floats, which is scaled",
      `MXFP4 in "${table.sources[0]}"`,
    );
  const head = { ...table, name: HEAD, change: { times: tiedScale } };
  return [...made, head].toSorted((a, b) => compareNames(a.name, b.name));
}
