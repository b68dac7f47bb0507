/** Runs of files' bytes as one source, from any position on, read in windows. */
import { type ByteSource, endedEarly } from "../../formats/stream/source.ts";
import { free } from "../../memory/free.ts";

export const WINDOW_BYTES = 4 * 1024 * 1024;

/** Bytes of a file that are taken one behind the other. */
export type Run<File> = { file: File; start: number; end: number };

export type ReadFile<File> = (
  file: File,
  start: number,
  length: number,
  into?: ArrayBuffer,
) => Promise<Uint8Array<ArrayBuffer>>;

export class FileSource<File> implements ByteSource {
  readonly #read: ReadFile<File>;
  #runs: readonly Run<File>[];
  /** The run of what is taken next, and where in its file that is. */
  #run = 0;
  #position: number;
  #buffer = new ArrayBuffer(0);
  #window = new Uint8Array(0);
  /** The file that the window is of, and where in it it starts. */
  #windowFile: File | undefined;
  #windowStart = 0;

  constructor(read: ReadFile<File>, runs: readonly Run<File>[]) {
    this.#read = read;
    this.#runs = joined(runs);
    this.#position = this.#runs[0]?.start ?? 0;
  }

  /** Go on `position` bytes behind the beginning of other runs. */
  seek(runs: readonly Run<File>[], position: number): void {
    this.#runs = joined(runs);
    this.#run = 0;
    let left = position;
    for (const { start, end } of this.#runs) {
      this.#position = start + left;
      if (this.#position < end) return;
      left -= end - start;
      this.#run++;
    }
  }

  /** Nothing more is taken. */
  release(): void {
    free(new Uint8Array(this.#buffer));
    this.#window = new Uint8Array(0);
    this.#windowFile = undefined;
  }

  /** Requires: what is taken at once lies in one run */
  async take(bytes: number): Promise<Uint8Array> {
    while (
      this.#runs[this.#run] &&
      this.#position >= this.#runs[this.#run]!.end
    )
      this.#position = this.#runs[++this.#run]?.start ?? 0;
    const run = this.#runs[this.#run];
    const left = run ? run.end - this.#position : 0;
    if (!run || left < bytes) throw endedEarly(bytes, left);
    let offset = this.#position - this.#windowStart;
    const isThere =
      run.file === this.#windowFile &&
      offset >= 0 &&
      offset + bytes <= this.#window.length;
    if (!isThere) {
      await this.#fill(run, Math.min(left, Math.max(bytes, WINDOW_BYTES)));
      offset = 0;
    }
    this.#position += bytes;
    return this.#window.subarray(offset, offset + bytes);
  }

  async #fill({ file }: Run<File>, length: number): Promise<void> {
    // Each window in the same memory, of its full size from the start.
    if (this.#buffer.byteLength < length)
      this.#buffer = new ArrayBuffer(Math.max(length, WINDOW_BYTES));
    const start = this.#position;
    this.#window = await this.#read(file, start, length, this.#buffer);
    this.#buffer = this.#window.buffer;
    this.#windowFile = file;
    this.#windowStart = start;
  }
}

/** Runs that follow each other in a file are one, so that small tensors come together. */
function joined<File>(runs: readonly Run<File>[]): Run<File>[] {
  const whole: Run<File>[] = [];
  for (const run of runs) {
    const last = whole.at(-1);
    if (last && last.file === run.file && last.end === run.start)
      whole[whole.length - 1] = { ...last, end: run.end };
    else if (run.end > run.start) whole.push(run);
  }
  return whole;
}
