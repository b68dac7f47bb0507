/** What the results that were told of one microbatch come to: they are one author's word each. */
import { isOwners } from "../platform/author.ts";

/** Equal results are equal texts. `counts` is false for a word that nobody has asked for: it speaks against others only. */
export type Ballot = { author: string; says: string; counts: boolean };

export type Verdict =
  /** So many authors more shall compute it: nothing was told yet, or too few have told the same. */
  | { kind: "open"; wanted: number }
  /** They differ, and those who could still tell the outcome shall compute it. */
  | { kind: "disputed"; wanted: number }
  /** They differ, and nobody is there who could decide it. */
  | { kind: "undecided" }
  /** They agree; `liars` told otherwise. */
  | { kind: "settled"; says: string; liars: string[] };

/**
 * `required` authors whose word counts must say the same. Where they differ, the most have it, once the `others`, who are there and
 * have not told, could not turn it. Of as many on both sides, that with one of the owner's trainers has it.
 */
export function verdictOf(
  ballots: readonly Ballot[],
  required: number,
  others: number,
): Verdict {
  const groups = Map.groupBy(ballots, ({ says }) => says);
  const sides = [...groups.values()].sort((a, b) => b.length - a.length);
  const [first, second] = sides;
  if (!first) return { kind: "open", wanted: required };
  if (!second) {
    const missing = required - first.filter(({ counts }) => counts).length;
    return missing > 0
      ? { kind: "open", wanted: missing }
      : { kind: "settled", says: first[0]!.says, liars: [] };
  }
  const lead = first.length - second.length;
  if (lead > others) return settled(ballots, first[0]!.says);
  if (others > 0) return { kind: "disputed", wanted: others };
  const tied = sides.filter(({ length }) => length === first.length);
  const owners = tied.filter((side) =>
    side.some(({ author }) => isOwners(author)),
  );
  if (owners.length === 1) return settled(ballots, owners[0]![0]!.says);
  return { kind: "undecided" };
}

function settled(ballots: readonly Ballot[], says: string): Verdict {
  const others = ballots.filter((ballot) => ballot.says !== says);
  return { kind: "settled", says, liars: others.map(({ author }) => author) };
}
