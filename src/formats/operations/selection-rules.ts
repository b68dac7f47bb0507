/** Decides what a request does with each tensor of a file, by output format. */
import { AppError } from "../../api/errors.ts";
import type { GgufOutput, GgufType } from "../../api/scheme.ts";
import { formatsOf, refuseUnread } from "../blocks/foreign-formats.ts";
import { isRecorded } from "../blocks/quantization-record.ts";
import type { FileTarget, TensorFile } from "../containers/container.ts";
import {
  DTYPE_BITS,
  FLOAT_DTYPES,
  type FloatDtype,
  isFloat,
} from "../dtype.ts";
import { ggufRole, whyNotInBlocks } from "../roles/gguf-rules.ts";
import type { RoleDecision } from "../roles/role.ts";
import { decideRoles } from "../roles/roles.ts";
import { takeApart } from "../roles/tensor-name.ts";
import { hasElements, type TensorHead, type TensorRange } from "../tensor.ts";
import { isNamed, type Selection } from "./name-patterns.ts";
import { checkPatternsMatch, nothingTo } from "./nothing-done.ts";
import { checkTypes, toldType, type TypeRule } from "./tensor-types.ts";

/** The selected tensors, and for a GGUF the types of its output head, token table and tensors. */
export type TensorChoice = Selection & {
  output?: GgufOutput;
  /** For a GGUF: types of its tensors by name. */
  types?: readonly TypeRule[];
  /** For a model: the default decisions, which `include` overrides. */
  roles?: Roles | undefined;
};

/** A model's tensors, by name. */
export type Roles = ReadonlyMap<string, RoleDecision>;

/**
 * The roles of a model's tensors; undefined for a file without numbered layers that have linear weights, in which all
 * floats are selected.
 */
export function rolesOf({ target, tensors }: TensorFile): Roles | undefined {
  if (target.isPlain) return undefined;
  const decisions = decideRoles(tensors);
  const isModel = tensors.some(
    ({ name }, i) => decisions[i]!.role !== "keep" && takeApart(name).layered,
  );
  if (!isModel) return undefined;
  return new Map(tensors.map(({ name }, i) => [name, decisions[i]!]));
}

export type Decision = {
  becomes: "blocks" | Exclude<GgufType, "mxfp4">;
  /** Why, worded to follow the tensor's name. */
  reason: string;
};

/** Decides for a selected tensor. */
type Rule = (tensor: TensorRange, choice: TensorChoice) => Decision;

const UNREAD_FLOATS = "floats that are not read";

const RULES: Record<FileTarget["name"], Rule> = {
  safetensors({ name, dtype, shape }, { include, roles }) {
    if (shape.length === 0) return keep("no dimension");
    // Floats of at most 8 bits, and complex ones.
    if (!isFloat(dtype))
      return keep(/^[FC]/.test(dtype) ? UNREAD_FLOATS : "not floats");
    const decision = include.length === 0 ? roles?.get(name) : undefined;
    if (decision === undefined) return { becomes: "blocks", reason: "floats" };
    const { packed, role, reason } = decision;
    if (!packed) return keep(reason);
    if (role === "linear") return { becomes: "blocks", reason };
    return keep(`${reason}: a directory for a loader has it turned`);
  },
  gguf: (head, choice) => decideGguf(head, [head.name], choice),
};

/**
 * Decides for a GGUF's tensor; patterns may also use its other `names`. Tensors named by `include` become blocks if
 * llama.cpp can compute with them; by default its matrices do.
 */
export function decideGguf(
  head: TensorHead,
  names: readonly string[],
  {
    include,
    output = "q8_0",
    types = [],
  }: Omit<TensorChoice, "exclude" | "roles">,
): Decision {
  const { name, dtype, shape } = head;
  const told = toldType(types, names, head);
  if (told === "keep" || told?.toUpperCase() === dtype)
    return keep("of the type that is told for its name");
  if (told !== undefined)
    return {
      becomes: told === "mxfp4" ? "blocks" : told,
      reason: "told for its name",
    };
  if (!Object.hasOwn(DTYPE_BITS, dtype)) return keep("quantized already");
  if (dtype === "F64") return keep(UNREAD_FLOATS);
  if (!isFloat(dtype)) return keep("not floats");
  const dimensions = shape.toReversed();
  const { kind, reason } = ggufRole(name, dimensions);
  if (kind === "floats")
    return keep(`${reason}, which llama.cpp wants as floats`);
  const ragged = whyNotInBlocks(dimensions);
  if (ragged !== undefined) return keep(ragged);
  if (kind === "matrix" || include.length > 0)
    return { becomes: "blocks", reason };
  if (kind === "left")
    return keep(`${reason}, left as by llama.cpp's own quantizer`);
  return { becomes: output === "mxfp4" ? "blocks" : output, reason };
}

function keep(reason: string): Decision {
  return { becomes: "keep", reason };
}

/** Undefined for a tensor that is not selected. */
export function decide(
  { target }: TensorFile,
  tensor: TensorRange,
  choice: TensorChoice,
): Decision | undefined {
  const { name } = tensor;
  const isTold =
    toldType(choice.types ?? [], [name], tensor) !== undefined &&
    isNamed(name, { include: [], exclude: choice.exclude });
  if (!isTold && !isNamed(name, choice)) return undefined;
  return RULES[target.name](tensor, choice);
}

/**
 * Refuses a file whose weights are in a known format that cannot be read. In a GGUF, such weights are copied if there
 * are others that can be. Errors: `unsupported_dtype`
 */
export function checkSources(
  { target, tensors, metadata }: TensorFile,
  selection: Selection,
): void {
  if (!target.isPlain && isRecorded(metadata)) return;
  const named = tensors.filter(({ name }) => isNamed(name, selection));
  const passes =
    target.isPlain &&
    named.some(({ dtype, shape }) => isFloat(dtype) && shape.length > 1);
  if (passes) return;
  refuseUnread(
    tensors,
    (name) => isNamed(name, selection),
    "; `exclude` lets it pass through",
  );
}

/** A tensor to convert, and its new type. */
export type Chosen = {
  tensor: TensorRange<FloatDtype>;
  becomes: Exclude<Decision["becomes"], "keep">;
};

/**
 * The conversion of each tensor; undefined if it is copied. `verb` names the operation; `whyNot` tells why a tensor
 * that could become blocks does not. Errors: `invalid_option` for a pattern that matches nothing,
 * `nothing_to_convert` if all are copied, and `unsupported_dtype` for floats of a safetensors file that cannot be
 * read
 */
export function chooseAll(
  file: TensorFile,
  choice: TensorChoice,
  verb: string,
  whyNot: (tensor: TensorRange) => string | undefined = () => undefined,
): (Chosen | undefined)[] {
  const { tensors } = file;
  checkPatternsMatch(tensors, choice);
  checkTypes(choice.types ?? [], tensors, ({ name }) => [name]);
  const chosen = tensors.map((tensor) => {
    const found = choose(file, tensor, choice);
    const stays = found?.becomes === "blocks" && whyNot(tensor) !== undefined;
    return stays ? undefined : found;
  });
  if (chosen.some((each) => each && hasElements(each.tensor))) return chosen;
  const decisions = tensors.map((tensor) => decide(file, tensor, choice));
  const byRole = tensors.some(({ dtype, shape }, i) => {
    const { becomes, reason } = decisions[i] ?? {};
    const isRead = isFloat(dtype) && reason !== UNREAD_FLOATS;
    return isRead && shape.length > 0 && becomes === "keep";
  });
  throw nothingTo(
    verb,
    tensors,
    (_, i) => {
      const decision = decisions[i];
      if (decision === undefined) return "not asked for";
      const { becomes, reason } = decision;
      if (becomes === "keep") return reason;
      return whyNot(tensors[i]!) ?? whyIdle(tensors[i]!) ?? reason;
    },
    byRole && choice.include.length === 0
      ? "; `include` takes what stays by default"
      : "",
  );
}

/** Why a tensor does not count as converted: it has no elements. */
export function whyIdle(tensor: TensorHead): string | undefined {
  return hasElements(tensor) ? undefined : "without elements";
}

/** Undefined if the tensor is copied. Errors: `unsupported_dtype` */
function choose(
  file: TensorFile,
  tensor: TensorRange,
  choice: TensorChoice,
): Chosen | undefined {
  const decision = decide(file, tensor, choice);
  if (decision === undefined) return undefined;
  if (decision.becomes !== "keep") {
    const { becomes } = decision;
    return { tensor: tensor as TensorRange<FloatDtype>, becomes };
  }
  if (decision.reason !== UNREAD_FLOATS || file.target.isPlain)
    return undefined;
  const format = formatsOf(file.tensors)(tensor);
  if (format !== undefined)
    throw new AppError(
      "unsupported_dtype",
      `Expected floats or FP8, got ${format} in "${tensor.name}"; dequantize it first, or \`exclude\` it`,
    );
  throw new AppError(
    "unsupported_dtype",
    `Expected float tensors of ${FLOAT_DTYPES.join(", ")} to work on, got tensor "${tensor.name}" of ${tensor.dtype}; \`exclude\` lets it pass through`,
  );
}
