/** Ends a text before the first stop string. Text that may be the beginning of one is held back until more follows. */
export class StopStrings {
  readonly #strings: readonly string[];
  #held = "";

  constructor(strings: readonly string[]) {
    this.#strings = strings;
  }

  /** The text that can be output now; `isStopped` if a stop string was found. */
  take(piece: string): { text: string; isStopped: boolean } {
    const all = this.#held + piece;
    const places = this.#strings
      .map((each) => all.indexOf(each))
      .filter((at) => at >= 0);
    if (places.length > 0) {
      this.#held = "";
      return { text: all.slice(0, Math.min(...places)), isStopped: true };
    }
    const waiting = Math.max(
      0,
      ...this.#strings.map((each) => overlap(all, each)),
    );
    const end = all.length - waiting;
    this.#held = all.slice(end);
    return { text: all.slice(0, end), isStopped: false };
  }

  /** The text held back, when the text ends for another reason. */
  rest(): string {
    return this.#held;
  }
}

/** Length of the longest suffix of `text` that is a prefix of `string`. */
function overlap(text: string, string: string): number {
  for (let length = string.length - 1; length > 0; length--)
    if (text.endsWith(string.slice(0, length))) return length;
  return 0;
}
