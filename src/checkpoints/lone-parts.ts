/**
 * Finds parts of quantized weights whose other part is in none of a directory's files, so that their values are
 * unknown.
 */
import { AppError } from "../api/errors.ts";
import {
  BLOCK_LAYOUTS,
  type BlockLayout,
  type Part,
} from "../formats/blocks/block-layouts.ts";
import { namedScale, scaledNames } from "../formats/blocks/fp8-scales.ts";
import type { PackedTensor } from "../formats/blocks/packed-tensors.ts";
import { isFloat } from "../formats/dtype.ts";
import { hasElements, type TensorHead } from "../formats/tensor.ts";

export type LonePart = { name: string; problem: string };

type Pair = BlockLayout & { parts: readonly [Part, Part] };
type ByName = ReadonlyMap<string, TensorHead>;

const PAIRS = BLOCK_LAYOUTS.filter(
  (layout): layout is Pair =>
    layout.target === "safetensors" && layout.parts.length === 2,
);
/** Dtypes of E8M0 scales, for any tensor name. */
const EXPONENTS = ["U8", "F8_E8M0"];

/** `packed`: the weights with both parts. */
export function loneParts(
  tensors: readonly TensorHead[],
  packed: readonly PackedTensor[],
): LonePart[] {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const taken = new Set<TensorHead>(packed.flatMap(({ parts }) => parts));
  return tensors.flatMap((tensor) => {
    if (taken.has(tensor)) return [];
    const { name } = tensor;
    const problem =
      scaleProblem(tensor, byName) ?? elementsProblem(tensor, packed, byName);
    return problem === undefined ? [] : [{ name, problem }];
  });
}

/** Errors: `malformed_body` if there is one */
export function checkNoLoneParts(
  tensors: readonly TensorHead[],
  packed: readonly PackedTensor[],
): void {
  const [lone] = loneParts(tensors, packed);
  if (lone) throw new AppError("malformed_body", lone.problem);
}

/** For scales, recognized by name and type, without a weight. */
function scaleProblem(
  { name, dtype }: TensorHead,
  byName: ByName,
): string | undefined {
  const isExponents = EXPONENTS.includes(dtype);
  if (!isExponents && !(isFloat(dtype) || dtype === "F8_E4M3"))
    return undefined;
  const blocks = PAIRS.flatMap(({ parts: [elements, scales] }) =>
    name.endsWith(scales.suffix) ? [other(name, scales, elements)] : [],
  );
  const names = isExponents
    ? [...blocks, ...scaledNames(name)]
    : namedScale(name)
      ? [...scaledNames(name), ...blocks]
      : [];
  if (names.length === 0) return undefined;
  const found = names.flatMap((each) => byName.get(each) ?? []);
  // E8M0 scales do not apply to floats.
  const isThere = found.some(
    (weight) => !isExponents || !isFloat(weight.dtype),
  );
  if (isThere) return undefined;
  const told = [...new Set(names)].map((each) => `"${each}"`);
  const got =
    found.length > 0
      ? found.map((weight) => `"${weight.name}" of ${weight.dtype}`).join()
      : "none";
  return `Expected the weight of the scales "${name}", ${dtype}, as ${told.join(" or ")}, got ${got}`;
}

/**
 * For elements without scales, recognized by a unique suffix, or by having the last name of other quantized weights.
 */
function elementsProblem(
  tensor: TensorHead,
  packed: readonly PackedTensor[],
  byName: ByName,
): string | undefined {
  const { name, dtype, shape } = tensor;
  if (shape.length < 2 || !hasElements(tensor)) return undefined;
  for (const layout of PAIRS) {
    const [elements, scales] = layout.parts;
    if (!elements.dtypes.includes(dtype) || !name.endsWith(elements.suffix))
      continue;
    const isMeant =
      elements.suffix !== layout.base ||
      packed.some(
        (each) =>
          each.layout === layout &&
          lastOf(each.parts[0]!.name) === lastOf(name),
      );
    const missing = other(name, elements, scales);
    if (isMeant && !byName.has(missing))
      return `Expected the scales of "${name}", ${dtype}, as "${missing}", got none`;
  }
  return undefined;
}

function other(name: string, own: Part, part: Part): string {
  return name.slice(0, name.length - own.suffix.length) + part.suffix;
}

function lastOf(name: string): string {
  return name.slice(name.lastIndexOf(".") + 1);
}
