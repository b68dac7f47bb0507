/**
 * The role of a tensor in its model, and whether it is quantized. MXFP4 is for weights of matrix products, in blocks
 * along the contracted axis; quantizing a lookup table, norm, router or output head costs more quality than it saves
 * bytes.
 */
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { elementCount } from "../tensor.ts";

/**
 * `linear`: [out, in], experts [E, out, in]: the last axis is contracted.
 * `linear-in-out`: [in, out], experts [E, in, out]: the axis before the last is.
 * `keep`: not the weight of a linear layer.
 */
export type Role = "linear" | "linear-in-out" | "keep";

/** The kind of a tensor. Of those not quantized, loaders only treat routers and heads as linear layers. */
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
  /** Whether it becomes MXFP4 by default. */
  packed: boolean;
  /** Why, worded to follow the tensor's name. */
  reason: string;
};

export function stays(kind: Kind, reason: string): RoleDecision {
  return { role: "keep", kind, packed: false, reason };
}

/** A decision to pack, revoked for another reason. */
export function unpacked<D extends RoleDecision>(decision: D, why: string): D {
  const reason = `${decision.reason}; ${why}`;
  return { ...decision, packed: false, reason };
}

/** The length of the contracted axis, which is cut into blocks. */
function contractedLength(
  role: "linear" | "linear-in-out",
  shape: readonly number[],
): number {
  return shape.at(role === "linear" ? -1 : -2)!;
}

/** A weight is packed if its rows are whole blocks, since no loader accepts padded rows. */
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
