/** Trainers that wait for a lease. One wait per trainer: asking again ends the earlier one. */
type Place = { wake: () => void; isLeft: boolean };

/** One trainer's wait. */
export type Wait = {
  /** False once the same trainer has asked again. */
  isCurrent(): boolean;
  /** Resolves when there may be a lease, or after `timeoutMs`. */
  sleep(timeoutMs: number): Promise<void>;
  leave(): void;
};

export class WaitingRoom {
  readonly #places = new Map<string, Place>();

  enter(trainer: string): Wait {
    const place: Place = { wake: () => {}, isLeft: false };
    const earlier = this.#places.get(trainer);
    this.#places.set(trainer, place);
    if (earlier) leave(earlier);
    return {
      isCurrent: () => !place.isLeft,
      sleep: (timeoutMs) => sleep(place, timeoutMs),
      leave: () => {
        if (this.#places.get(trainer) === place) this.#places.delete(trainer);
      },
    };
  }

  has(trainer: string): boolean {
    return this.#places.has(trainer);
  }

  wakeAll(): void {
    for (const place of this.#places.values()) place.wake();
  }
}

function leave(place: Place): void {
  place.isLeft = true;
  place.wake();
}

async function sleep(place: Place, timeoutMs: number): Promise<void> {
  if (place.isLeft) return;
  let timer: ReturnType<typeof setTimeout> | undefined;
  await new Promise<void>((resolve) => {
    place.wake = resolve;
    timer = setTimeout(resolve, timeoutMs);
  });
  clearTimeout(timer);
}
