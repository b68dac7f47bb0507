/**
 * Subtrees of the reduction tree: each covers `subtree` neighbouring microbatches, a power of two, the last one the
 * rest. Summing the subtrees' sums in the same fixed tree gives the bytes of the whole tree, since the tree splits at
 * powers of two, and thus at multiples of the subtree's size while there is more than one.
 */
import type { RunConfig } from "../api/run-config.ts";

/** Microbatches `first`, …, `first` + `count` − 1. */
export type Neighbours = { first: number; count: number };

type Cut = Pick<RunConfig, "microbatches" | "subtree">;

/** The subtrees in order; empty if shards receive all pushes themselves. */
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

/** What is wrong with `subtree`, as messages. */
export function subtreeProblems({ microbatches, subtree }: Cut): string[] {
  if (subtree === undefined) return [];
  const isPower =
    Number.isInteger(subtree) && subtree > 1 && (subtree & (subtree - 1)) === 0;
  if (isPower && subtree < microbatches) return [];
  return [
    `Expected \`subtree\` to be a power of two below the ${microbatches} microbatches of a step, got ${subtree}; leave it out to send all pushes to the shards`,
  ];
}
