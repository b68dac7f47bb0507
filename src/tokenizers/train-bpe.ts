/**
 * Trains BPE on word counts: repeatedly merges the most frequent adjacent pair, among equals that of the smaller ids. A
 * pure function of the counts, in any order.
 */
import { free } from "../memory/free.ts";
import { BYTE_VOCABULARY, type Merge } from "./bpe.ts";
import { PairTable } from "./pair-table.ts";
import { savedWords } from "./word-counts.ts";

/** Rarer pairs are not merged. */
const LEAST_COUNT = 2;
/** Longer tokens are not made, which bounds the largest tokenizer.json to 2 MB. */
const MAX_TOKEN_BYTES = 24;
/** Marks the position before a word, and positions inside a symbol. */
const NO_ID = 0xffff;
/** Per position: the ids that begin and end there (u16 each), and the word's count (u32). */
const PLACE_BYTES = 8;

/**
 * All words in one array: a position per byte, and one before each word. A symbol's id is stored at its first and at
 * its last byte, so that neighbours are found by their lengths.
 */
export class BpeTrainer {
  readonly merges: Merge[] = [];
  readonly #vocabulary: number;
  readonly #beginning: Uint16Array<ArrayBuffer>;
  readonly #ending: Uint16Array<ArrayBuffer>;
  readonly #counts: Uint32Array<ArrayBuffer>;
  readonly #pairs: PairTable;
  /** Bytes of each id. */
  readonly #lengths: Uint16Array;

  /** `saved`: written by `WordCounts.save`. */
  constructor(saved: Uint8Array, vocabulary: number) {
    this.#vocabulary = vocabulary;
    this.#lengths = new Uint16Array(vocabulary).fill(1, 0, BYTE_VOCABULARY);
    const places = placesFor(saved);
    this.#beginning = new Uint16Array(places).fill(NO_ID);
    this.#ending = new Uint16Array(places).fill(NO_ID);
    this.#counts = new Uint32Array(places);
    this.#pairs = new PairTable(places);
    let place = 1;
    for (const { bytes, count } of savedWords(saved)) {
      this.#beginning.set(bytes, place);
      this.#ending.set(bytes, place);
      this.#counts.fill(count, place, place + bytes.length);
      for (let i = 1; i < bytes.length; i++)
        this.#add(bytes[i - 1]!, bytes[i]!, place + i - 1, count);
      place += bytes.length + 1;
    }
  }

  /** Bytes of memory for training on these counts, besides them. */
  static bytesFor(saved: Uint8Array): number {
    const places = placesFor(saved);
    return PLACE_BYTES * places + PairTable.bytesFor(places);
  }

  /** Adds up to `most` merges; false once the vocabulary is full or no pair occurs twice. */
  train(most: number): boolean {
    for (let i = 0; i < most; i++) {
      const id = BYTE_VOCABULARY + this.merges.length;
      const best = id < this.#vocabulary ? this.#pairs.best() : undefined;
      if (!best || best.count < LEAST_COUNT) return false;
      const [left, right] = best.pair;
      this.merges.push(best.pair);
      this.#lengths[id] = this.#lengths[left]! + this.#lengths[right]!;
      // From left to right, so that the first of overlapping pairs is merged.
      for (const place of this.#pairs.places(left, right))
        this.#join(left, right, place, id);
    }
    return true;
  }

  /** Frees all but `merges`. */
  free(): void {
    for (const array of [this.#beginning, this.#ending, this.#counts])
      free(array);
    this.#pairs.free();
  }

  /** Merges the pair at `place`, unless an overlapping merge has taken its left half. */
  #join(left: number, right: number, place: number, id: number): void {
    if (this.#beginning[place] !== left) return;
    const middle = place + this.#lengths[left]!;
    const end = middle + this.#lengths[right]!;
    const before = this.#ending[place - 1]!;
    const after = this.#beginning[end]!;
    const start = place - (before === NO_ID ? 0 : this.#lengths[before]!);
    const count = this.#counts[place]!;
    this.#remove(left, right, place, count);
    if (before !== NO_ID) {
      this.#remove(before, left, start, count);
      this.#add(before, id, start, count);
    }
    if (after !== NO_ID) {
      this.#remove(right, after, middle, count);
      this.#add(id, after, place, count);
    }
    this.#beginning[place] = id;
    this.#beginning[middle] = NO_ID;
    this.#ending[end - 1] = id;
  }

  #add(left: number, right: number, place: number, count: number): void {
    if (this.#canJoin(left, right)) this.#pairs.add(left, right, place, count);
  }

  #remove(left: number, right: number, place: number, count: number): void {
    if (this.#canJoin(left, right))
      this.#pairs.remove(left, right, place, count);
  }

  #canJoin(left: number, right: number): boolean {
    return this.#lengths[left]! + this.#lengths[right]! <= MAX_TOKEN_BYTES;
  }
}

/** Computes all merges at once. */
export function trainBpe(saved: Uint8Array, vocabulary: number): Merge[] {
  const trainer = new BpeTrainer(saved, vocabulary);
  trainer.train(Infinity);
  return trainer.merges;
}

function placesFor(saved: Uint8Array): number {
  let places = 1;
  for (const { bytes } of savedWords(saved)) places += bytes.length + 1;
  return places;
}
