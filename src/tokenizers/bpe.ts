/**
 * Byte-pair encoding (BPE). Ids 0 … 255 are the bytes; merge i makes id 256 + i from two lower ids. Without merges it
 * is the byte tokenizer.
 *
 * Source: Sennrich, Haddow, Birch, arXiv 1508.07909; on bytes as in GPT-2
 */
import { wordsOf } from "./byte-level.ts";
import type { TextTokenizer } from "./text-tokenizer.ts";

/** Two ids that are merged into one. */
export type Merge = readonly [left: number, right: number];

export const BYTE_VOCABULARY = 256;
/** Ids fit in 16 bits. */
export const MAX_VOCABULARY = 65536;
/** The cache of encoded words. */
const MAX_CACHED_WORDS = 32_768;
const MAX_CACHED_LENGTH = 64;

const utf8 = new TextEncoder();

export class Bpe implements TextTokenizer {
  readonly merges: readonly Merge[];
  /** Merge index by `left · 65536 + right`. */
  readonly #ranks = new Map<number, number>();
  readonly #cache = new Map<string, Uint16Array>();

  constructor(merges: readonly Merge[]) {
    this.merges = merges;
    for (const [rank, [left, right]] of merges.entries()) {
      const known = BYTE_VOCABULARY + rank;
      if (!(left < known && right < known) || known >= MAX_VOCABULARY) {
        throw new RangeError(
          `Expected merge ${rank} to join two of the ${known} ids before it, got ${left} and ${right}`,
        );
      }
      this.#ranks.set(pairKey(left, right), rank);
    }
  }

  get vocabulary(): number {
    return BYTE_VOCABULARY + this.merges.length;
  }

  /** The ids of a text. */
  encode(text: string): Uint16Array {
    return joined(wordsOf(text, true).map((word) => this.encodeWord(word)));
  }

  /** The ids of one word of `wordsOf`. */
  encodeWord(word: string): Uint16Array {
    const known = this.#cache.get(word);
    if (known) return known;
    const ids = this.#merged(utf8.encode(word));
    if (word.length <= MAX_CACHED_LENGTH) {
      if (this.#cache.size >= MAX_CACHED_WORDS) this.#cache.clear();
      this.#cache.set(word, ids);
    }
    return ids;
  }

  spelling(): (id: number) => Uint8Array {
    const tokens = this.tokens();
    return (id) => tokens[id]!;
  }

  /** The bytes of each id. */
  tokens(): Uint8Array[] {
    const tokens = Array.from({ length: BYTE_VOCABULARY }, (_, byte) =>
      Uint8Array.of(byte),
    );
    for (const [left, right] of this.merges) {
      const [a, b] = [tokens[left]!, tokens[right]!];
      const token = new Uint8Array(a.length + b.length);
      token.set(a);
      token.set(b, a.length);
      tokens.push(token);
    }
    return tokens;
  }

  /** Merges the adjacent pair of the lowest rank first; the leftmost among equals. */
  #merged(bytes: Uint8Array): Uint16Array {
    const list = new LinkedIds(bytes);
    const queue = new RankQueue();
    const offer = (at: number): void => {
      const rank = this.#ranks.get(list.pairAt(at));
      if (rank !== undefined) queue.push(rank, at);
    };
    for (let at = 0; at + 1 < bytes.length; at++) offer(at);
    for (let next = queue.pop(); next; next = queue.pop()) {
      // The pair may have changed since it was queued; then it was queued again.
      if (this.#ranks.get(list.pairAt(next.at)) !== next.rank) continue;
      list.join(next.at, BYTE_VOCABULARY + next.rank);
      offer(next.at);
      const before = list.before(next.at);
      if (before >= 0) offer(before);
    }
    return list.ids();
  }
}

function pairKey(left: number, right: number): number {
  return left * MAX_VOCABULARY + right;
}

export function joined(
  parts: readonly Uint16Array[],
): Uint16Array<ArrayBuffer> {
  const all = new Uint16Array(
    parts.reduce((length, part) => length + part.length, 0),
  );
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const NONE = -1;

/** The ids of one word as a doubly linked list; an id merged into its left neighbour is NONE. */
class LinkedIds {
  readonly #ids: Int32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;

  constructor(bytes: Uint8Array) {
    const { length } = bytes;
    this.#ids = Int32Array.from(bytes);
    this.#next = Int32Array.from({ length }, (_, at) =>
      at + 1 < length ? at + 1 : NONE,
    );
    this.#previous = Int32Array.from({ length }, (_, at) => at - 1);
  }

  before(at: number): number {
    return this.#previous[at]!;
  }

  /** `pairKey` of the id at `at` and its successor; NONE if either is missing. */
  pairAt(at: number): number {
    const next = this.#next[at]!;
    const id = this.#ids[at]!;
    return id === NONE || next === NONE ? NONE : pairKey(id, this.#ids[next]!);
  }

  /** Replaces the pair at `at` by `id`. */
  join(at: number, id: number): void {
    const gone = this.#next[at]!;
    const after = this.#next[gone]!;
    this.#ids[at] = id;
    this.#ids[gone] = NONE;
    this.#next[at] = after;
    if (after !== NONE) this.#previous[after] = at;
  }

  ids(): Uint16Array {
    return Uint16Array.from(this.#ids.filter((id) => id !== NONE));
  }
}

/** Priority queue of positions by rank, then from left to right: a binary heap. */
class RankQueue {
  readonly #heap: number[] = [];

  push(rank: number, at: number): void {
    const heap = this.#heap;
    const key = rank * 2 ** 32 + at;
    let child = heap.length;
    heap.push(key);
    while (child > 0) {
      const parent = (child - 1) >> 1;
      if (heap[parent]! <= key) break;
      heap[child] = heap[parent]!;
      child = parent;
    }
    heap[child] = key;
  }

  pop(): { rank: number; at: number } | undefined {
    const heap = this.#heap;
    const [top] = heap;
    if (top === undefined) return undefined;
    const last = heap.pop()!;
    if (heap.length > 0) {
      let parent = 0;
      for (;;) {
        let child = 2 * parent + 1;
        if (child >= heap.length) break;
        if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++;
        if (heap[child]! >= last) break;
        heap[parent] = heap[child]!;
        parent = child;
      }
      heap[parent] = last;
    }
    return { rank: Math.floor(top / 2 ** 32), at: top % 2 ** 32 };
  }
}
