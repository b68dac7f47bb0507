/**
 * Another order of a file's tensors, for a reader that may start anywhere: the scales of a pair before
 * its elements. Decoding then holds a pair's scales, a sixteenth of its elements, whatever order the
 * file has.
 */
import type { TensorInput } from "../containers/input.ts";
import { DOTTED_SUFFIXES, PAIR_SUFFIXES } from "./layout.ts";
import type { TensorRange } from "../tensor.ts";

/** A stretch of the reordered data, and where it is in the file's. */
export type Stretch = { start: number; end: number; from: number };

export function scalesFirst(input: TensorInput): {
  input: TensorInput;
  stretches: Stretch[];
} {
  const byName = new Map(input.tensors.map((tensor) => [tensor.name, tensor]));
  const ordered = new Set<TensorRange>();
  for (const tensor of input.tensors) {
    const scales = byName.get(scalesOf(tensor.name) ?? "");
    if (scales) ordered.add(scales);
    ordered.add(tensor);
  }
  const stretches: Stretch[] = [];
  let position = 0;
  const tensors = Array.from(ordered, (tensor) => {
    const start = position;
    const end = (position += tensor.end - tensor.start);
    stretches.push({ start, end, from: tensor.start });
    return { ...tensor, start, end };
  });
  return { input: { ...input, tensors }, stretches };
}

function scalesOf(elements: string): string | undefined {
  for (const [own, other] of [
    PAIR_SUFFIXES["gpt-oss"],
    PAIR_SUFFIXES["compressed-tensors"],
    DOTTED_SUFFIXES,
  ]) {
    if (elements.endsWith(own)) return elements.slice(0, -own.length) + other;
  }
  return undefined;
}
