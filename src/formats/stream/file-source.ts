/**
 * Presents ranges of files' bytes as one source, readable from any position, in windows; with read-ahead, the next
 * window is read while the present one is processed.
 */
import {
  type FileRange,
  inOrder,
  joinedRanges,
  runBytes,
} from "./file-range.ts";
import { ReusedMemory } from "./reused-memory.ts";
import { type ByteSource, endedEarly } from "./source.ts";

export const WINDOW_BYTES = 4 * 1024 * 1024;

/** Reads to `into` if given and large enough. */
export type ReadFile<File> = (
  file: File,
  start: number,
  length: number,
  into?: ArrayBuffer,
) => Promise<Uint8Array>;

/** A stretch of a file. */
type Stretch = { start: number; end: number };
/**
 * A read for a run; `at` is the position of its first byte in the run's output, negative if earlier runs are read
 * with it.
 */
type Span = Stretch & { run: number; at: number };

export class FileSource<File> implements ByteSource {
  readonly #read: ReadFile<File>;
  readonly #runs: readonly FileRange<File>[];
  readonly #windowBytes: number;
  readonly #readsAhead: boolean;
  /** The current run, and the position in its output. */
  #run = 0;
  #position = 0;
  #window: { run: number; at: number; bytes: Uint8Array } = NOTHING;
  /** The read-ahead; never rejects. */
  #ahead: { span: Span; read: Promise<() => Uint8Array> } | undefined;
  /** Reused memory for the window, the read-ahead, and reordered rows. */
  #readInto = new ReusedMemory();
  #readAheadInto = new ReusedMemory();
  readonly #ordered = new ReusedMemory();
  /** Memory for bytes that span several runs. */
  readonly #joint = new ReusedMemory();

  /** `readsAhead` needs memory for a second window; if the caller stops early, the last read is wasted. */
  constructor(
    read: ReadFile<File>,
    runs: readonly FileRange<File>[],
    { windowBytes = WINDOW_BYTES, readsAhead = false } = {},
  ) {
    this.#read = read;
    this.#runs = joinedRanges(runs);
    this.#windowBytes = windowBytes;
    this.#readsAhead = readsAhead;
  }

  /** Continues at `position`, counted from the beginning. */
  seek(position: number): void {
    this.#run = 0;
    this.#position = position;
    this.#pass();
  }

  /** Frees the memory; nothing more may be read. */
  release(): void {
    for (const room of [this.#readInto, this.#ordered, this.#joint])
      room.release();
    this.#window = NOTHING;
  }

  async take(bytes: number): Promise<Uint8Array> {
    if (bytes === 0) return new Uint8Array(0);
    this.#pass();
    if (bytes <= this.#left) return this.#within(bytes);
    const joint = this.#joint.take(bytes, 0);
    for (let at = 0; at < bytes;) {
      const part = Math.min(this.#left, bytes - at);
      if (part === 0) throw endedEarly(bytes, at);
      joint.set(await this.#within(part), at);
      at += part;
      this.#pass();
    }
    return joint;
  }

  /** Bytes left of the current run. */
  get #left(): number {
    const run = this.#runs[this.#run];
    return run ? runBytes(run) - this.#position : 0;
  }

  /** Skips completed runs. */
  #pass(): void {
    for (let run; (run = this.#runs[this.#run]); this.#run++) {
      const bytes = runBytes(run);
      if (this.#position < bytes) return;
      this.#position -= bytes;
    }
  }

  /** Requires: `bytes` ≤ what is left of the run */
  async #within(bytes: number): Promise<Uint8Array> {
    if (!this.#holds(bytes)) await this.#fill(bytes);
    const at = this.#position - this.#windowAt!;
    this.#position += bytes;
    return this.#window.bytes.subarray(at, at + bytes);
  }

  /** Whether the window contains the next `bytes` of the current run. */
  #holds(bytes: number): boolean {
    const at = this.#windowAt;
    if (at === undefined || this.#position < at) return false;
    return this.#position + bytes <= at + this.#window.bytes.length;
  }

  /** The window's start in the current run; undefined if it has other bytes. */
  get #windowAt(): number | undefined {
    const { run, at } = this.#window;
    if (run === this.#run) return at;
    const [own, due] = [this.#runs[run], this.#runs[this.#run]!];
    if (own?.file !== due.file || own.rows || due.rows) return undefined;
    return own.start + at - due.start;
  }

  /** Reads a window with the next `wanted` bytes, and starts reading the one after. */
  async #fill(wanted: number): Promise<void> {
    const span = this.#span(this.#position, wanted);
    const { rows } = this.#runs[span.run]!;
    const read = await this.#bytesOf(span);
    const bytes = rows ? inOrder(read, rows, this.#ordered) : read;
    this.#window = { run: span.run, at: span.at, bytes };
    // The next requests are most likely of the same size.
    const next = span.at + bytes.length - (rows ? 0 : bytes.length % wanted);
    const left = runBytes(this.#runs[span.run]!) - next;
    if (this.#readsAhead && left > 0)
      this.#begin(this.#span(next, Math.min(wanted, left)));
  }

  /** What to read for `wanted` bytes of the current run, from `position` on. */
  #span(position: number, wanted: number): Span {
    const run = this.#run;
    const { start, end, rows } = this.#runs[run]!;
    if (!rows) {
      const from = start + position;
      const length = Math.max(wanted, this.#windowBytes);
      if (from + length < end)
        return { run, start: from, end: from + length, at: position };
      const whole = this.#around({ start: from, end });
      return { run, ...whole, at: whole.start - start };
    }
    const turn = rows.rowBytes * rows.of;
    const given = rows.rowBytes * rows.taken.length;
    const first = Math.floor(position / given);
    const needed = Math.ceil((position + wanted) / given) - first;
    const turns = Math.max(needed, Math.floor(this.#windowBytes / turn));
    const from = start + first * turn;
    const until = Math.min(end, from + turns * turn);
    return { run, start: from, end: until, at: first * given };
  }

  /**
   * Extends the rest of a run by later runs that are nearby in the file, in any order, to save reads. At least a
   * quarter of what is read is used.
   */
  #around(rest: Stretch): Stretch {
    const { file } = this.#runs[this.#run]!;
    let [found, all, taken] = [rest, rest, rest.end - rest.start];
    for (let next = this.#run + 1; ; next++) {
      const run = this.#runs[next];
      if (run?.file !== file || run.rows) return found;
      all = {
        start: Math.min(all.start, run.start),
        end: Math.max(all.end, run.end),
      };
      const bytes = all.end - all.start;
      if (bytes > this.#windowBytes) return found;
      taken += run.end - run.start;
      if (bytes <= 4 * taken) found = all;
    }
  }

  async #bytesOf(span: Span): Promise<Uint8Array> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    if (ahead) {
      const read = await ahead.read;
      [this.#readInto, this.#readAheadInto] = [
        this.#readAheadInto,
        this.#readInto,
      ];
      if (isSame(ahead.span, span)) return read();
    }
    return this.#take(span, this.#readInto);
  }

  #begin(span: Span): void {
    const read = this.#take(span, this.#readAheadInto).then(
      (bytes) => () => bytes,
      (error: unknown) => () => {
        throw error;
      },
    );
    this.#ahead = { span, read };
  }

  async #take(
    { run, start, end }: Span,
    room: ReusedMemory,
  ): Promise<Uint8Array> {
    const into = room.take(end - start, this.#windowBytes);
    const { file } = this.#runs[run]!;
    const read = await this.#read(file, start, end - start, into.buffer);
    room.putBack(read);
    return read;
  }
}

const NOTHING = { run: -1, at: 0, bytes: new Uint8Array(0) };

function isSame(a: Span, b: Span): boolean {
  return a.run === b.run && a.start === b.start && a.end === b.end;
}
