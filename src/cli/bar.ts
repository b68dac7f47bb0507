/** A progress bar on a terminal; nothing elsewhere. */
import { byteSize } from "../api/byte-size.ts";

const WIDTH = 30;
const REDRAW_MS = 100;

type Output = Pick<NodeJS.WriteStream, "write"> & {
  isTTY?: boolean;
  columns?: number;
};

export class Bar {
  readonly #out: Output;
  readonly #label: string;
  readonly #started = Date.now();
  #total = 0;
  #done = 0;
  /** Of the bytes done, those that were skipped. */
  #there = 0;
  #drawn = 0;

  constructor(label: string, out: Output = process.stderr) {
    this.#label = label;
    this.#out = out;
  }

  /** Sets the total number of bytes. */
  begin(total: number): void {
    this.#total = total;
  }

  add(bytes: number): void {
    this.#done += bytes;
    if (!this.#out.isTTY || Date.now() - this.#drawn < REDRAW_MS) return;
    this.#drawn = Date.now();
    const share = this.#total > 0 ? Math.min(1, this.#done / this.#total) : 1;
    const told = `${Math.floor(share * 100)} %  ${this.#speed()}`;
    // A line that wraps could not be cleared.
    const columns = (this.#out.columns || 80) - 1;
    const room = columns - this.#label.length - told.length - 2;
    const width = Math.max(0, Math.min(WIDTH, room));
    const full = Math.round(share * width);
    const bar = "█".repeat(full) + "░".repeat(width - full);
    const line = [this.#label, bar, told].filter(Boolean).join(" ");
    this.#out.write(`\r\x1b[2K${line.slice(0, columns)}`);
  }

  /** Counts as done, but not for the speed. */
  skip(bytes: number): void {
    this.#there += bytes;
    this.add(bytes);
  }

  /** Clears the bar. */
  end(): void {
    if (this.#out.isTTY) this.#out.write("\r\x1b[2K");
  }

  get seconds(): number {
    return (Date.now() - this.#started) / 1000;
  }

  #speed(): string {
    const seconds = Math.max(this.seconds, 0.001);
    return `${byteSize((this.#done - this.#there) / seconds)}/s`;
  }
}
