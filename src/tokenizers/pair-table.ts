/**
 * Counts and positions of adjacent pairs of ids, with the most frequent pair on top: a hash table with a heap over its
 * slots, in arrays of fixed size, so that memory is known in advance.
 */
import { free } from "../memory/free.ts";
import type { Merge } from "./bpe.ts";

const NONE = -1;
/** Hash slots per possible pair. */
const SLOTS = 1.5;
/** Per slot: key, count, first position, index in the heap; 4 bytes each. */
const SLOT_BYTES = 16;
/** Per position: its neighbours in its pair's list, and an entry of the heap. */
const PLACE_BYTES = 12;

export class PairTable {
  readonly #slots: number;
  /** `left · 65536 + right` of each slot. 0 is a valid key, so a slot is free if its count is 0. */
  readonly #keys: Uint32Array<ArrayBuffer>;
  readonly #counts: Uint32Array<ArrayBuffer>;
  /** Each pair's positions are a doubly linked list; a position belongs to one pair at a time. */
  readonly #first: Int32Array<ArrayBuffer>;
  readonly #next: Int32Array<ArrayBuffer>;
  readonly #previous: Int32Array<ArrayBuffer>;
  /** Slots by count, then by key: a binary heap, best first. */
  readonly #heap: Int32Array<ArrayBuffer>;
  readonly #inHeap: Int32Array<ArrayBuffer>;
  #size = 0;

  /** `places`: the largest number of positions. */
  constructor(places: number) {
    this.#slots = slotsFor(places);
    this.#keys = new Uint32Array(this.#slots);
    this.#counts = new Uint32Array(this.#slots);
    this.#first = new Int32Array(this.#slots);
    this.#inHeap = new Int32Array(this.#slots);
    this.#next = new Int32Array(places);
    this.#previous = new Int32Array(places);
    this.#heap = new Int32Array(places);
  }

  static bytesFor(places: number): number {
    return SLOT_BYTES * slotsFor(places) + PLACE_BYTES * places;
  }

  free(): void {
    const ofSlots = [this.#keys, this.#counts, this.#first, this.#inHeap];
    const ofPlaces = [this.#next, this.#previous, this.#heap];
    for (const array of [...ofSlots, ...ofPlaces]) free(array);
  }

  /** Records the pair at `place`, in a word that occurs `count` times. */
  add(left: number, right: number, place: number, count: number): void {
    const key = keyOf(left, right);
    const slot = this.#find(key);
    if (this.#counts[slot] === 0) {
      this.#keys[slot] = key;
      this.#first[slot] = NONE;
      this.#put(this.#size++, slot);
    }
    const first = this.#first[slot]!;
    this.#next[place] = first;
    this.#previous[place] = NONE;
    if (first !== NONE) this.#previous[first] = place;
    this.#first[slot] = place;
    this.#counts[slot]! += count;
    this.#rise(this.#inHeap[slot]!);
  }

  /** Undoes `add`. */
  remove(left: number, right: number, place: number, count: number): void {
    const slot = this.#find(keyOf(left, right));
    const next = this.#next[place]!;
    const previous = this.#previous[place]!;
    if (next !== NONE) this.#previous[next] = previous;
    if (previous === NONE) this.#first[slot] = next;
    else this.#next[previous] = next;
    this.#counts[slot]! -= count;
    this.#sink(this.#inHeap[slot]!);
    if (this.#counts[slot] === 0) this.#free(slot);
  }

  /** The most frequent pair; among equals that of the smaller ids. */
  best(): { pair: Merge; count: number } | undefined {
    if (this.#size === 0) return undefined;
    const slot = this.#heap[0]!;
    const key = this.#keys[slot]!;
    return { pair: [key >>> 16, key & 0xffff], count: this.#counts[slot]! };
  }

  /** The positions of a pair, ascending. */
  places(left: number, right: number): Int32Array {
    const slot = this.#find(keyOf(left, right));
    const first = this.#counts[slot] === 0 ? NONE : this.#first[slot]!;
    let length = 0;
    for (let at = first; at !== NONE; at = this.#next[at]!) length++;
    const places = new Int32Array(length);
    let index = 0;
    for (let at = first; at !== NONE; at = this.#next[at]!)
      places[index++] = at;
    return places.sort();
  }

  /** The slot of a key, or the free slot where it would be inserted. */
  #find(key: number): number {
    let slot = this.#home(key);
    while (this.#counts[slot] !== 0 && this.#keys[slot] !== key)
      slot = this.#after(slot);
    return slot;
  }

  #home(key: number): number {
    const hash = Math.imul(key ^ (key >>> 15), 0x9e3779b1) >>> 0;
    return Math.floor((hash / 2 ** 32) * this.#slots);
  }

  #after(slot: number): number {
    return slot + 1 === this.#slots ? 0 : slot + 1;
  }

  /** Frees a slot, and moves up following entries that are not in their home slots (linear probing). */
  #free(slot: number): void {
    this.#leaveHeap(this.#inHeap[slot]!);
    let hole = slot;
    for (
      let next = this.#after(hole);
      this.#counts[next] !== 0;
      next = this.#after(next)
    ) {
      if (this.#distance(next, next) < this.#distance(next, hole)) continue;
      this.#keys[hole] = this.#keys[next]!;
      this.#counts[hole] = this.#counts[next]!;
      this.#first[hole] = this.#first[next]!;
      this.#put(this.#inHeap[next]!, hole);
      hole = next;
    }
    this.#counts[hole] = 0;
  }

  /** Distance of `slot` from the home slot of the key in slot `of`. */
  #distance(of: number, slot: number): number {
    const distance = slot - this.#home(this.#keys[of]!);
    return distance < 0 ? distance + this.#slots : distance;
  }

  #put(at: number, slot: number): void {
    this.#heap[at] = slot;
    this.#inHeap[slot] = at;
  }

  #leaveHeap(at: number): void {
    const last = this.#heap[--this.#size]!;
    if (at === this.#size) return;
    this.#put(at, last);
    this.#rise(at);
    this.#sink(this.#inHeap[last]!);
  }

  #rise(from: number): void {
    const slot = this.#heap[from]!;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(slot, this.#heap[parent]!)) break;
      this.#put(at, this.#heap[parent]!);
      at = parent;
    }
    this.#put(at, slot);
  }

  #sink(from: number): void {
    const slot = this.#heap[from]!;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#size) break;
      const isRight =
        child + 1 < this.#size &&
        this.#isBefore(this.#heap[child + 1]!, this.#heap[child]!);
      if (isRight) child++;
      if (!this.#isBefore(this.#heap[child]!, slot)) break;
      this.#put(at, this.#heap[child]!);
      at = child;
    }
    this.#put(at, slot);
  }

  #isBefore(a: number, b: number): boolean {
    const [countA, countB] = [this.#counts[a]!, this.#counts[b]!];
    return (
      countA > countB || (countA === countB && this.#keys[a]! < this.#keys[b]!)
    );
  }
}

function slotsFor(places: number): number {
  return Math.ceil(SLOTS * places) + 1;
}

function keyOf(left: number, right: number): number {
  return ((left << 16) | right) >>> 0;
}
