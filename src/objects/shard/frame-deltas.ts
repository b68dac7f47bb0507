/**
 * The frame before the one that trainers pull, and the difference of the two: for those whose link is slow. From the first
 * that asks on they are kept, as long as nobody else in the isolate needs the room; who finds none gets the whole frame.
 */
import { frameDigest } from "../../api/frame.ts";
import { encodeFrameDelta } from "../../api/frame-delta.ts";
import { isolateMemory } from "../../memory/ledger.ts";
import { SharedBytes } from "../../memory/shared-bytes.ts";

export type SealedFrame = { step: number; sealed: Promise<SharedBytes> };

export class FrameDeltas {
  readonly #beforeKey: string;
  readonly #deltaKey: string;
  #before: SharedBytes | undefined;
  /** From `#before` to the frame of `step`; undefined where it is no smaller. */
  #delta: { step: number; made: SharedBytes | undefined } | undefined;
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
      (frame) => {
        this.drop();
        this.#before = frame;
        const { length } = frame.bytes;
        isolateMemory.keep(this.#beforeKey, length, () => this.drop());
      },
      () => {},
    );
  }

  /** What makes of the frame of digest `base` the `frame` of `step`; undefined where it is not at hand, or no smaller. */
  of(
    base: string,
    step: number,
    frame: Uint8Array<ArrayBuffer>,
  ): SharedBytes | undefined {
    this.areWanted = true;
    const before = this.#before;
    if (!before || frameDigest(before.bytes) !== base) return undefined;
    isolateMemory.touch(this.#beforeKey);
    if (this.#delta?.step === step) return this.#delta.made;
    this.#dropDelta();
    if (!isolateMemory.hasRoom(frame.length)) return undefined;
    const bytes = encodeFrameDelta(before.bytes, frame);
    const made = bytes && new SharedBytes(bytes);
    this.#delta = { step, made };
    if (bytes)
      isolateMemory.keep(this.#deltaKey, bytes.length, () => this.#dropDelta());
    return made;
  }

  drop(): void {
    this.#dropDelta();
    isolateMemory.letGo(this.#beforeKey);
    this.#before?.drop();
    this.#before = undefined;
  }

  #dropDelta(): void {
    isolateMemory.letGo(this.#deltaKey);
    this.#delta?.made?.drop();
    this.#delta = undefined;
  }
}
