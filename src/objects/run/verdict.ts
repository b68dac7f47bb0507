/** Decides between the results that authors reported for one microbatch. */
import { isOwners } from "../platform/author.ts";

/**
 * One author's result as a text, equal for equal results. `counts` is false for a result that nobody asked for: it
 * can contradict others, but not confirm them.
 */
export type Ballot = { author: string; says: string; counts: boolean };

export type Verdict =
  /** Nothing was reported yet, or too few results agree: `wanted` more authors are needed. */
  | { kind: "open"; wanted: number }
  /** Results differ, and present authors could still decide: `wanted` of them are needed. */
  | { kind: "disputed"; wanted: number }
  /** Results differ, and nobody present can decide. */
  | { kind: "undecided" }
  /** `says` is accepted; `liars` reported something else. */
  | { kind: "settled"; says: string; liars: string[] };

/**
 * `required` authors whose results count must agree. If results differ, the majority wins as soon as the `others`
 * (present authors without a result) could not change that. In a tie, a result of one of the owner's trainers wins.
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
