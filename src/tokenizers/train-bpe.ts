/**
 * Which merges a text's words call for: again and again the pair that stands side by side most often, of
 * equals the one of the smaller ids. A pure function of the counts, whatever order they come in.
 */
import { BYTE_VOCABULARY, type Merge, pairKey } from "./bpe.ts";

/** What stands side by side less often is no pattern. */
const LEAST_COUNT = 2;

const utf8 = new TextEncoder();

/** Words of a text and how often they occur, as many as memory allows. */
export class WordCounts {
  readonly counts = new Map<string, number>();
  readonly #most: number;

  /** Once there are more than `most` different words, those that occurred once so far are forgotten. */
  constructor(most: number) {
    this.#most = most;
  }

  add(words: readonly string[]): void {
    for (const word of words) {
      this.counts.set(word, (this.counts.get(word) ?? 0) + 1);
    }
    for (let least = 1; this.counts.size > this.#most; least++) {
      for (const [word, count] of this.counts) {
        if (count <= least) this.counts.delete(word);
      }
    }
  }
}

/** At most `vocabulary − 256` merges; fewer where no pair is left that occurs twice. */
export function trainBpe(
  counts: ReadonlyMap<string, number>,
  vocabulary: number,
): Merge[] {
  const words = Array.from(counts, ([word, count]) => ({
    ids: Array.from(utf8.encode(word)),
    count,
  }));
  const pairs = new PairCounts();
  for (const [index, { ids, count }] of words.entries()) {
    pairs.add(ids, count, index);
  }
  pairs.settle();
  const merges: Merge[] = [];
  while (BYTE_VOCABULARY + merges.length < vocabulary) {
    const best = pairs.mostFrequent();
    if (!best || best.count < LEAST_COUNT) break;
    const id = BYTE_VOCABULARY + merges.length;
    merges.push([best.left, best.right]);
    for (const index of best.words) {
      const word = words[index]!;
      pairs.add(word.ids, -word.count, index);
      word.ids = merge(word.ids, best, id);
      pairs.add(word.ids, word.count, index);
    }
    pairs.settle();
  }
  return merges;
}

/** `ids` with each pair, from the left, as `id`. */
function merge(
  ids: readonly number[],
  { left, right }: { left: number; right: number },
  id: number,
): number[] {
  const merged: number[] = [];
  for (let at = 0; at < ids.length; at++) {
    const isPair = ids[at] === left && ids[at + 1] === right;
    merged.push(isPair ? id : ids[at]!);
    if (isPair) at++;
  }
  return merged;
}

type Pair = {
  left: number;
  right: number;
  count: number;
  /** What `settle` adds to the count. */
  change: number;
  /** Those that have the pair, and some that had it. */
  words: Set<number>;
};

/** How often each pair occurs, in which words, and which does most. */
class PairCounts {
  readonly #pairs = new Map<number, Pair>();
  readonly #changed = new Set<Pair>();
  /** Every pair at every count that it came to: what no longer holds is passed over. */
  readonly #heap: { count: number; key: number }[] = [];

  /** The pairs of a word that occurs `count` times; fewer than before where that is negative. */
  add(ids: readonly number[], count: number, word: number): void {
    for (let at = 0; at + 1 < ids.length; at++) {
      const [left, right] = [ids[at]!, ids[at + 1]!];
      const key = pairKey(left, right);
      let pair = this.#pairs.get(key);
      if (!pair) {
        pair = { left, right, count: 0, change: 0, words: new Set() };
        this.#pairs.set(key, pair);
      }
      pair.change += count;
      if (count > 0) pair.words.add(word);
      this.#changed.add(pair);
    }
  }

  /** Count what was added; once a merge, since most of a word's pairs go and come back. */
  settle(): void {
    for (const pair of this.#changed) {
      pair.count += pair.change;
      const key = pairKey(pair.left, pair.right);
      if (pair.count === 0) this.#pairs.delete(key);
      else if (pair.change > 0) this.#push(pair.count, key);
      pair.change = 0;
    }
    this.#changed.clear();
  }

  mostFrequent(): Pair | undefined {
    for (let top = this.#pop(); top; top = this.#pop()) {
      const pair = this.#pairs.get(top.key);
      if (pair?.count === top.count) return pair;
      // Fewer than when this entry was made. At more, another entry is there.
      if (pair && pair.count < top.count) this.#push(pair.count, top.key);
    }
    return undefined;
  }

  #push(count: number, key: number): void {
    const heap = this.#heap;
    const entry = { count, key };
    let child = heap.length;
    heap.push(entry);
    while (child > 0) {
      const parent = (child - 1) >> 1;
      if (!isBefore(entry, heap[parent]!)) break;
      heap[child] = heap[parent]!;
      child = parent;
    }
    heap[child] = entry;
  }

  #pop(): { count: number; key: number } | undefined {
    const heap = this.#heap;
    const [top] = heap;
    const last = heap.pop();
    if (heap.length === 0 || !last) return top;
    let parent = 0;
    for (;;) {
      let child = 2 * parent + 1;
      if (child >= heap.length) break;
      const sibling = heap[child + 1];
      if (sibling && isBefore(sibling, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[parent] = heap[child]!;
      parent = child;
    }
    heap[parent] = last;
    return top;
  }
}

function isBefore(
  a: { count: number; key: number },
  b: { count: number; key: number },
): boolean {
  return a.count > b.count || (a.count === b.count && a.key < b.key);
}
