/**
 * Layers that vLLM and SGLang, with compressed-tensors and Quark, fuse into one matrix with one scheme, and experts of
 * a layer: quantized together or not at all.
 */
import { AppError } from "../api/errors.ts";
import { linear, type RoleDecision, unpacked } from "../formats/roles/role.ts";
import { takeApart } from "../formats/roles/tensor-name.ts";
import type { TensorHead } from "../formats/tensor.ts";

/** Names of modules that are fused. */
const FUSED = [
  ["q_proj", "k_proj", "v_proj"],
  ["gate_proj", "up_proj"],
  ["w1", "w3"],
  ["in_proj_qkv", "in_proj_z"],
  ["in_proj_b", "in_proj_a"],
  ["q_a_proj", "kv_a_proj_with_mqa"],
  ["query", "key", "value"],
  ["c_fc_0", "c_fc_1"],
] as const;

/** `….experts` of `….experts.3.w1.weight` or `….experts.down_proj`; undefined if it is not an expert's matrix. */
function expertsOf(
  { name }: TensorHead,
  { kind }: RoleDecision,
): string | undefined {
  if (kind !== "linear" && kind !== "experts") return undefined;
  return /^((?:.*\.)?experts)\.(?:\d+\..+|\w+(?:\.weight)?)$/.exec(name)?.[1];
}

/** Indices in `heads` of each layer's expert matrices, by the module that contains them. */
function expertLayers(
  heads: readonly TensorHead[],
  decisions: readonly RoleDecision[],
): Map<string, number[]> {
  const layers = new Map<string, number[]>();
  heads.forEach((head, i) => {
    const owner = expertsOf(head, decisions[i]!);
    if (owner === undefined) return;
    const places = layers.get(owner) ?? [];
    layers.set(owner, places);
    places.push(i);
  });
  return layers;
}

/** Modules of experts of which none is quantized. */
export function keptExperts(
  heads: readonly TensorHead[],
  decisions: readonly RoleDecision[],
): string[] {
  return [...expertLayers(heads, decisions)].flatMap(([owner, places]) =>
    places.some((i) => decisions[i]!.packed) ? [] : [owner],
  );
}

/** If one expert matrix of a layer cannot be split into blocks, all of them are kept. */
export function withWholeExperts<D extends RoleDecision>(
  heads: readonly TensorHead[],
  decisions: readonly D[],
): D[] {
  const made = [...decisions];
  for (const places of expertLayers(heads, decisions).values()) {
    const odd = places.find((i) => {
      const { role, kind } = decisions[i]!;
      const isMatrix =
        role !== "keep" && (kind === "linear" || kind === "experts");
      return isMatrix && !linear(role, heads[i]!.shape, kind).packed;
    });
    if (odd === undefined) continue;
    for (const i of places) {
      const decision = decisions[i]!;
      if (!decision.packed) continue;
      made[i] = unpacked(
        decision,
        `all experts of a layer run as one, and ${heads[odd]!.name} has no whole blocks`,
      );
    }
  }
  return made;
}

/** Errors: `invalid_option` for fused layers of which only some are quantized */
export function checkRunAsOne(
  heads: readonly TensorHead[],
  decisions: readonly RoleDecision[],
): void {
  const packed = new Map<string, boolean>();
  heads.forEach(({ name }, i) => {
    const { owner, leaf } = takeApart(name);
    if (leaf === "weight") packed.set(owner, decisions[i]!.packed);
  });
  for (const owner of packed.keys()) {
    const at = owner.lastIndexOf(".") + 1;
    const group = FUSED.find(([first]) => first === owner.slice(at));
    if (!group) continue;
    const parts = group.map((part) => owner.slice(0, at) + part);
    const told = parts.filter((part) => packed.has(part));
    const first = packed.get(owner)!;
    const other = told.find((part) => packed.get(part) !== first);
    if (other !== undefined)
      throw differing(told.join(", "), owner, first, other);
  }
  checkTogether(expertLayers(heads, decisions), heads, decisions);
}

/**
 * Errors: `invalid_option` for a matrix of a layer's experts that is packed in some of them alone, where a loader
 * stacks each matrix of all of them
 */
export function checkStacks(
  heads: readonly TensorHead[],
  decisions: readonly RoleDecision[],
): void {
  const stacks = new Map<string, number[]>();
  heads.forEach(({ name }, i) => {
    const found = /^((?:.*\.)?experts)\.\d+\.(.+)\.weight$/.exec(name);
    if (!found) return;
    const stack = `${found[1]!}.*.${found[2]!}`;
    const places = stacks.get(stack) ?? [];
    stacks.set(stack, places);
    places.push(i);
  });
  checkTogether(stacks, heads, decisions);
}

function checkTogether(
  groups: ReadonlyMap<string, readonly number[]>,
  heads: readonly TensorHead[],
  decisions: readonly RoleDecision[],
): void {
  for (const [group, places] of groups) {
    const [first, ...others] = places as [number, ...number[]];
    const isPacked = decisions[first]!.packed;
    const other = others.find((i) => decisions[i]!.packed !== isPacked);
    if (other !== undefined)
      throw differing(
        `all of ${group}`,
        heads[first]!.name,
        isPacked,
        heads[other]!.name,
      );
  }
}

function differing(
  all: string,
  one: string,
  isPacked: boolean,
  other: string,
): AppError {
  const [what, otherwise] = isPacked ? ["packed", "kept"] : ["kept", "packed"];
  return new AppError(
    "invalid_option",
    `Expected ${all} to be packed together or not at all, since their loader runs them as one, got ${one} ${what} and ${other} ${otherwise}`,
  );
}
