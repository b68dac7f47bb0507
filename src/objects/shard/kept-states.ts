/**
 * Which snapshots stay when a later one is there, so that a step of the past can be computed again and the run can go
 * back: a pure function of where the shard is, so all shards of a run have them of the same steps.
 */

/** Where a shard's snapshots lie: from `first` on, at the multiples of `interval`. */
export type SnapshotSteps = { first: number; interval: number };

/**
 * Whether the snapshot of `step` stays when the latest is of `latest`: the first, the latest, and of the multiples of the
 * interval the last two and one in each 2, 4, 8 … before them. So of n intervals about log2 n states are kept,
 * and what is far back lies as far apart as it is far back.
 */
export function isKept(
  step: number,
  latest: number,
  { first, interval }: SnapshotSteps,
): boolean {
  if (step === first || step === latest) return true;
  if (step % interval !== 0) return false;
  const index = step / interval;
  const back = Math.floor(latest / interval) - index;
  return back <= 1 || index % 2 ** Math.floor(Math.log2(back)) === 0;
}
