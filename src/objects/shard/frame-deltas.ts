/**
 * The frame before the one that trainers pull, and the difference of the two: for those whose link is slow. From the first
 * that asks on they are kept, as long as nobody else in the isolate needs the room; who finds none gets the whole frame.
 */
import { frameDigest } from "../../api/frame.ts";
import { encodeFrameDelta } from "../../api/frame-delta.ts";
import { free } from "../../memory/free.ts";
import { isolateMemory } from "../../memory/ledger.ts";

type Bytes = Uint8Array<ArrayBuffer>;
export type SealedFrame = { step: number; sealed: Promise<Bytes> };

export class FrameDeltas {
  readonly #beforeKey: string;
  readonly #deltaKey: string;
  #before: Bytes | undefined;
  /** From `#before` to the frame of `step`. */
  #delta: { step: number; bytes: Promise<Bytes | undefined> } | undefined;
  /** Somebody has asked. */
  areWanted = false;

  /** `key` tells the shard from all others of the isolate. */
  constructor(key: string) {
    this.#beforeKey = `${key}/before`;
    this.#deltaKey = `${key}/delta`;
  }

  /** The frame is this one's from now on. */
  keepBefore({ sealed }: SealedFrame): void {
    this.drop();
    sealed.then(
      (bytes) => {
        this.drop();
        this.#before = bytes;
        isolateMemory.keep(this.#beforeKey, bytes.length, () => this.drop());
      },
      () => {},
    );
  }

  /** What makes of the frame of digest `base` the `frame` of `step`; undefined where it is not at hand, or no smaller. */
  of(base: string, step: number, frame: Bytes): Promise<Bytes | undefined> {
    this.areWanted = true;
    const before = this.#before;
    if (!before || frameDigest(before) !== base)
      return Promise.resolve(undefined);
    isolateMemory.touch(this.#beforeKey);
    if (this.#delta?.step === step) return this.#delta.bytes;
    this.#dropDelta();
    if (!isolateMemory.hasRoom(frame.length)) return Promise.resolve(undefined);
    const made = encodeFrameDelta(before, frame);
    const bytes = Promise.resolve(made);
    this.#delta = { step, bytes };
    if (made)
      isolateMemory.keep(this.#deltaKey, made.length, () => this.#dropDelta());
    return bytes;
  }

  drop(): void {
    this.#dropDelta();
    isolateMemory.letGo(this.#beforeKey);
    const before = this.#before;
    this.#before = undefined;
    if (before) free(before);
  }

  /** Whoever awaits it goes first: what a response has, it keeps. */
  #dropDelta(): void {
    isolateMemory.letGo(this.#deltaKey);
    const delta = this.#delta;
    this.#delta = undefined;
    delta?.bytes.then(
      (bytes) => bytes && free(bytes),
      () => {},
    );
  }
}
