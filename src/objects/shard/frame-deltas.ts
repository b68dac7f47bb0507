/**
 * The previous frame, and its difference to the present one, for trainers with a slow link. Kept from the first
 * request for a difference on, while there is memory; otherwise trainers get the whole frame.
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
  /** The difference from `#before` to the frame of `step`; `made` is undefined if it is not smaller than the frame. */
  #delta: { step: number; made: SharedBytes | undefined } | undefined;
  /** Whether a trainer has asked for a difference. */
  areWanted = false;

  /** `key` identifies the shard within the isolate. */
  constructor(key: string) {
    this.#beforeKey = `${key}/before`;
    this.#deltaKey = `${key}/delta`;
  }

  /** Keeps a frame as the previous one; takes ownership of it. */
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

  /**
   * The difference that turns the frame with digest `base` into `frame`, of `step`; undefined if that base is not
   * kept, or if it is not smaller.
   */
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
