/**
 * Suggests names for a pattern that matches nothing: those with the same parts, or parts that differ in a few
 * letters.
 */

const MOST = 3;
/** Only this many characters of a part are compared. */
const PART_LENGTH = 48;

/** At most three names, closest first; none without similarity to `pattern`. */
export function closestNames(
  pattern: string,
  names: readonly string[],
): string[] {
  const wanted = partsOf(pattern);
  /** Cached: files with thousands of tensors have few distinct parts. */
  const likenesses = wanted.map(() => new Map<string, number>());
  return names
    .map((name) => {
      const parts = partsOf(name);
      const alike = wanted.map((part, i) =>
        Math.max(0, ...parts.map((each) => cached(likenesses[i]!, each, part))),
      );
      const likeness = alike.reduce((sum, each) => sum + each, 0);
      return { name, likeness, parts: parts.length };
    })
    .filter(({ likeness }) => likeness > 0)
    .toSorted((a, b) => b.likeness - a.likeness || a.parts - b.parts)
    .slice(0, MOST)
    .map(({ name }) => name);
}

/** A hint for the end of a message; empty if there are none. */
export function closestHint(typed: string, names: readonly string[]): string {
  const closest = closestNames(typed, names);
  const verb = closest.length > 1 ? "are" : "is";
  return closest.length > 0
    ? `; the closest ${verb} ${closest.join(", ")}`
    : "";
}

function partsOf(name: string): string[] {
  return name
    .toLowerCase()
    .split(/[.*?/]+/)
    .filter((part) => part !== "")
    .map((part) => part.slice(0, PART_LENGTH));
}

function cached(
  known: Map<string, number>,
  part: string,
  wanted: string,
): number {
  let found = known.get(part);
  if (found === undefined) known.set(part, (found = likeness(part, wanted)));
  return found;
}

/** 1 for equal parts; above 0 if at most a third of the letters differ, or one contains the other. */
function likeness(a: string, b: string): number {
  if (a === b) return 1;
  const [short, long] = a.length < b.length ? [a, b] : [b, a];
  if (short.length >= 3 && long.includes(short))
    return Math.max(0.25, short.length / long.length - 0.25);
  const most = Math.max(1, Math.floor(long.length / 3));
  if (long.length - short.length > most) return 0;
  const distance = editDistance(short, long);
  return distance <= most ? 1 - distance / long.length : 0;
}

/** Edit distance: letters inserted, removed, replaced or swapped. */
function editDistance(a: string, b: string): number {
  let [before, last] = [
    [] as number[],
    Array.from({ length: b.length + 1 }, (_, j) => j),
  ];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const differs = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min(
        row[j - 1]! + 1,
        last[j]! + 1,
        last[j - 1]! + differs,
      );
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) least = Math.min(least, before[j - 2]! + 1);
      row.push(least);
    }
    [before, last] = [last, row];
  }
  return last[b.length]!;
}
