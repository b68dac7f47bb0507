/** Text that ends before the first of some strings: what may be the beginning of one waits for what follows. */
export class StopStrings {
  readonly #strings: readonly string[];
  #held = "";

  constructor(strings: readonly string[]) {
    this.#strings = strings;
  }

  /** What of the text so far may go out; `isStopped` where one of the strings has come. */
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

  /** What waited, where the text ends otherwise. */
  rest(): string {
    return this.#held;
  }
}

/** The longest end of `text` that `string` begins with. */
function overlap(text: string, string: string): number {
  for (let length = string.length - 1; length > 0; length--)
    if (text.endsWith(string.slice(0, length))) return length;
  return 0;
}
