/** What `npm run scaling -- --subtrees` measured, beside what the model says of it. */
import { fitCost } from "./model.ts";
import type { SubtreeSample } from "./subtrees.ts";

/**
 * Of the shard that takes longest in a step of M microbatches, each shard and each subtree on a machine of its own; in
 * seconds. `with` a subtree of k it is, for M / k sums,
 *
 *   foretold   k · (push + reduce) + M/k · summed + commit − (M − M/k) · reduce
 *   measured   k · (push + reduce) + M/k · (sum − k · reduce) + commit
 *
 * where `summed` is what a push of a sum's bytes would cost, by the line through the pushes of all models, and in what is
 * foretold `push` and `commit` are those of the run without.
 */
export type Judged = {
  sample: SubtreeSample;
  without: number;
  foretold: number;
  measured: number;
  summed: number;
  /** So many microbatches must a step have for its shard to be as soon done. */
  from: number;
};

export function judged(samples: readonly SubtreeSample[]): Judged[] {
  const plain = samples.filter(({ subtree }) => subtree === null);
  const cost = fitCost(
    plain.map(({ pushedBytes, push }) => ({
      requests: 1,
      bytes: pushedBytes,
      seconds: push,
    })),
  );
  return samples.flatMap((sample) => {
    const { preset, microbatches, subtree, sumBytes, push, sum, commit } =
      sample;
    const alone = plain.find(
      (each) => each.preset === preset && each.microbatches === microbatches,
    );
    if (subtree === null || !alone) return [];
    // Wall time of kernels, which others can only lengthen.
    const reduce = Math.min(
      ...samples
        .filter((each) => each.preset === preset)
        .map((each) => each.reduce),
    );
    const sums = Math.ceil(microbatches / subtree);
    const summed = cost.each + cost.byte * sumBytes;
    const handed = Math.max(0, sum - subtree * reduce);
    const own = subtree * (push + reduce);
    // Per microbatch: a push without; a k-th of a sum with, beside what the subtree does once.
    const spared = alone.push + reduce - (handed + reduce) / subtree;
    return {
      sample,
      without: microbatches * alone.push + alone.commit,
      foretold:
        subtree * (alone.push + reduce) +
        sums * summed +
        alone.commit -
        (microbatches - sums) * reduce,
      measured: own + sums * handed + commit,
      summed: handed,
      from: spared > 0 ? Math.ceil(own / spared) : Infinity,
    };
  });
}

export function subtreesTable(samples: readonly SubtreeSample[]): string {
  const rows = judged(samples);
  const off = ({ foretold, measured }: Judged) =>
    Math.abs(foretold / measured - 1);
  return [
    `${samples[0]!.steps} steps of each, with a load average of ${samples[0]!.load.toFixed(1)} before; CPU time of the edge for one of two shards, with its subtrees. The errors of the model are ${rows.map((row) => `${(100 * off(row)).toFixed(0)} %`).join(", ")}.`,
    "",
    "| model | microbatches | subtrees of | a push | a sum, transferred | shard's time per step, without | with | predicted | worth it from |",
    "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ...rows.map((row) => {
      const { sample, without, measured, foretold, summed, from } = row;
      const { preset, microbatches, subtree, push } = sample;
      return `| ${preset} | ${microbatches} | ${subtree} | ${ms(push)} | ${ms(summed)} | ${ms(without)} | ${ms(measured)} | ${ms(foretold)} | ${from === Infinity ? "never" : from} |`;
    }),
  ].join("\n");
}

function ms(seconds: number): string {
  return `${(1000 * seconds).toFixed(1)} ms`;
}
