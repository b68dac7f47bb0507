/**
 * Classifies each tensor of a checkpoint by name, shape and config.json: the default decision, which `include` and
 * `exclude` override.
 */
import type { TensorHead } from "../tensor.ts";
import {
  type Candidate,
  isAdapter,
  isMixture,
  isNorm,
  isOutputHead,
  isRouter,
  isTable,
} from "./kinds.ts";
import { MatrixOrder } from "./matrices.ts";
import type { ModelConfig } from "./model-config.ts";
import { type RoleDecision, stays, linear } from "./role.ts";
import { isStack, stackRole } from "./stacks.ts";
import { Surroundings } from "./surroundings.ts";
import { takeApart } from "./tensor-name.ts";

/** Dtypes of unquantized weights. */
const VALUES = ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"];

/** A decision for each tensor, in order. */
export function decideRoles(
  heads: readonly TensorHead[],
  config?: ModelConfig,
): RoleDecision[] {
  const around = new Surroundings(heads, config);
  const order = new MatrixOrder(heads, around);
  return heads.map((head) => decide(head, around, order, config));
}

function decide(
  head: TensorHead,
  around: Surroundings,
  order: MatrixOrder,
  config: ModelConfig | undefined,
): RoleDecision {
  const { dtype, shape } = head;
  const name = takeApart(head.name);
  if (!VALUES.includes(dtype)) return stays("other", "not floats");
  const candidate: Candidate = { head, name, around };
  if (name.leaf === "weight" && isNorm(candidate))
    return stays("norm", "a norm");
  if (shape.length < 2) return stays("other", oneDimension(name.leaf, shape));
  if (isStack(head.name, name, shape))
    return linear(stackRole(head, name, around, config), shape, "experts");
  if (isAdapter(candidate))
    return stays("adapter", "an adapter, which is added to a layer");
  if (!/^((in|[qkv])_proj_)?weight$/.test(name.leaf))
    return stays(
      "other",
      "a parameter of its own, not the weight of a linear layer",
    );
  if (shape.length > 2)
    return stays(
      "other",
      "a convolution, or another weight of more than two dimensions",
    );
  if (isRouter(candidate))
    return stays("router", "a router, which chooses experts");
  if (isMixture(candidate))
    return stays("router", "coefficients, which weigh what is added");
  if (isOutputHead(candidate)) return stays("head", "an output head");
  if (isTable(candidate))
    return stays("embedding", "an embedding, whose rows are looked up");
  return linear(order.roleOf(name), shape, "linear");
}

function oneDimension(leaf: string, shape: readonly number[]): string {
  if (shape.length === 0) return "a single value";
  return leaf.endsWith("bias") ? "a bias" : "of one dimension";
}
