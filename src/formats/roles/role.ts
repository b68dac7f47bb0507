/**
 * What a tensor is to the model that holds it, and what becomes of it. MXFP4 is for the weights that
 * matrix products contract with, in blocks along the contracted axis; a table whose rows are looked up, a
 * norm, a router or an output head costs more in quality than it saves in bytes.
 */
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { elementCount } from "../tensor.ts";

/**
 * `linear`: [out, in], experts [E, out, in]: the last axis is contracted.
 * `linear-in-out`: [in, out], experts [E, in, out]: the axis before the last is.
 * `keep`: not the weight of a linear layer.
 */
export type Role = "linear" | "linear-in-out" | "keep";

/** What a tensor is, more closely: of what stays, only routers and heads are linear layers to a loader. */
export type Kind =
  | "linear"
  | "experts"
  | "router"
  | "head"
  | "embedding"
  | "norm"
  | "adapter"
  | "other";

export type RoleDecision = {
  role: Role;
  kind: Kind;
  /** Whether it becomes MXFP4 unless the caller says otherwise. */
  packed: boolean;
  /** Why, in words that follow the tensor's name. */
  reason: string;
};

export function stays(kind: Kind, reason: string): RoleDecision {
  return { role: "keep", kind, packed: false, reason };
}

/** One that would be packed, and for another reason is not. */
export function unpacked<D extends RoleDecision>(decision: D, why: string): D {
  const reason = `${decision.reason}; ${why}`;
  return { ...decision, packed: false, reason };
}

/** How many elements a product sums over: the length of the rows that blocks cut. */
function contractedLength(
  role: "linear" | "linear-in-out",
  shape: readonly number[],
): number {
  return shape.at(role === "linear" ? -1 : -2)!;
}

/** A weight is packed where its rows are whole blocks: no loader takes rows that were padded. */
export function linear(
  role: "linear" | "linear-in-out",
  shape: readonly number[],
  kind: "linear" | "experts",
): RoleDecision {
  const k = contractedLength(role, shape);
  const left =
    elementCount(shape) === 0
      ? "without elements"
      : k < BLOCK_SIZE
        ? `rows of ${k} are shorter than a block of ${BLOCK_SIZE}`
        : k % BLOCK_SIZE !== 0
          ? `rows of ${k} are not whole blocks of ${BLOCK_SIZE}, and no loader takes padded ones`
          : undefined;
  const what = `${WORDS[kind]}, ${axesOf(role, kind)}`;
  return {
    role,
    kind,
    packed: left === undefined,
    reason: left === undefined ? what : `${what}; ${left}`,
  };
}

const WORDS = { linear: "a linear layer", experts: "experts" } as const;

function axesOf(
  role: "linear" | "linear-in-out",
  kind: "linear" | "experts",
): string {
  const axes = role === "linear" ? "out, in" : "in, out";
  return kind === "experts" ? `[E, ${axes}]` : `[${axes}]`;
}
