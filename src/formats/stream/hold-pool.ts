/** Memory that a conversion holds between pieces. */
import { AppError } from "../../api/errors.ts";
import { free } from "../../memory/free.ts";

/** Limit of bytes held at once. */
const MAX_HELD_BYTES = 32 * 1024 * 1024;

/** The held bytes by hold number. */
export type Held = { hold: number; bytes: Uint8Array<ArrayBuffer> }[];

/**
 * Bytes held from one piece to later ones, such as scales until the elements are written, by numbers that the plan
 * assigns. Released memory is reused.
 */
export class HoldPool {
  readonly #held = new Map<number, Uint8Array<ArrayBuffer>>();
  #free = new Uint8Array(0);

  /** The bytes of a hold: the same until released. */
  bytes(hold: number, length: number): Uint8Array<ArrayBuffer> {
    const held = this.#held.get(hold);
    if (held) return held;
    const taken =
      this.#free.length < length
        ? new Uint8Array(length)
        : this.#free.subarray(0, length);
    this.#free = new Uint8Array(0);
    this.#held.set(hold, taken);
    return taken;
  }

  release(hold: number): void {
    const bytes = this.#held.get(hold);
    if (!bytes) return;
    this.#held.delete(hold);
    if (bytes.buffer.byteLength > this.#free.length)
      this.#free = new Uint8Array(bytes.buffer);
  }

  /** Frees everything held. */
  clear(): void {
    for (const bytes of this.#held.values()) free(bytes);
    this.#held.clear();
    free(this.#free);
  }

  /** Everything held now: the bytes themselves, not copies. */
  save(): Held {
    return Array.from(this.#held, ([hold, bytes]) => ({ hold, bytes }));
  }

  /** Takes over the bytes. */
  restore(held: Held): void {
    this.#held.clear();
    for (const { hold, bytes } of held) this.#held.set(hold, bytes);
  }
}

/** A hold: its pool, number and size. */
export type Hold = { pool: HoldPool; index: number; bytes: number };

export function heldBytes({ pool, index, bytes }: Hold): Uint8Array {
  return pool.bytes(index, bytes);
}

/** Errors: `body_too_large` if more would be held at once than an isolate can hold */
export function checkHeld(what: string, bytes: number): void {
  if (bytes <= MAX_HELD_BYTES) return;
  throw new AppError(
    "body_too_large",
    `Expected a file that needs at most ${MAX_HELD_BYTES} bytes held back, got ${bytes} for tensor "${what}"; POST /v1/jobs takes files of any size`,
  );
}
