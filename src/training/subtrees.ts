/**
 * The fixed tree of a step's microbatches, cut below its top: each subtree is of so many neighbours, a power of two,
 * the last of what is left. Their sums, added up in the same fixed tree, come to the bytes of the whole tree: it
 * splits at powers of two, and so at multiples of the subtrees' size as long as there is more than one of them.
 */
import type { RunConfig } from "../api/run-config.ts";

/** Microbatches `first`, …, `first` + `count` − 1. */
export type Neighbours = { first: number; count: number };

type Cut = Pick<RunConfig, "microbatches" | "subtree">;

/** In order; none where shards take all pushes themselves. */
export function subtreesOf({ microbatches, subtree }: Cut): Neighbours[] {
  if (!subtree) return [];
  return Array.from(
    { length: Math.ceil(microbatches / subtree) },
    (_, index) => {
      const first = index * subtree;
      return { first, count: Math.min(subtree, microbatches - first) };
    },
  );
}

/** What speaks against it. */
export function subtreeProblems({ microbatches, subtree }: Cut): string[] {
  if (subtree === undefined) return [];
  const isPower =
    Number.isInteger(subtree) && subtree > 1 && (subtree & (subtree - 1)) === 0;
  if (isPower && subtree < microbatches) return [];
  return [
    `Expected \`subtree\` to be a power of two below the ${microbatches} microbatches of a step, got ${subtree}; leave it out and shards take all pushes themselves`,
  ];
}
