/** A file in the bucket as a source of bytes, from any position on, read in windows. */
import { AppError } from "../../api/errors.ts";
import type { Stretch } from "../../formats/blocks/scales-first.ts";
import { type ByteSource, endedEarly } from "../../formats/stream/source.ts";
import { free } from "../../memory/free.ts";

export const WINDOW_BYTES = 4 * 1024 * 1024;

/** An object that must stay as it was. */
export type PinnedFile = { key: string; etag: string; bytes: number };

export class FileSource implements ByteSource {
  readonly #bucket: R2Bucket;
  readonly #file: PinnedFile;
  #stretches: readonly Stretch[] = [];
  /** Of what is taken next: in the file, or in the order of the stretches behind `#base`. */
  #position = 0;
  #base = 0;
  #window = new Uint8Array(0);
  /** Where in the file the window starts. */
  #windowStart = 0;

  constructor(bucket: R2Bucket, file: PinnedFile) {
    this.#bucket = bucket;
    this.#file = file;
  }

  /** Go to byte `position` of the data that begins at `base`, whose order `stretches` say. */
  seek(base: number, position: number, stretches: readonly Stretch[]): void {
    this.#base = base;
    this.#position = base + position;
    this.#stretches = stretches;
  }

  /** Nothing more is taken. */
  release(): void {
    free(this.#window);
  }

  async take(bytes: number): Promise<Uint8Array> {
    const start = this.#inFile();
    let offset = start - this.#windowStart;
    if (offset < 0 || offset + bytes > this.#window.length) {
      await this.#read(start, bytes);
      offset = 0;
    }
    this.#position += bytes;
    return this.#window.subarray(offset, offset + bytes);
  }

  /** Pieces never span two tensors, so what is taken is in one stretch. */
  #inFile(): number {
    const position = this.#position - this.#base;
    const stretch = this.#stretches.find(
      ({ start, end }) => start <= position && position < end,
    );
    if (!stretch) return this.#position;
    return this.#base + stretch.from + position - stretch.start;
  }

  async #read(start: number, bytes: number): Promise<void> {
    const { key, etag, bytes: all } = this.#file;
    const left = all - start;
    if (left < bytes) throw endedEarly(bytes, left);
    const length = Math.min(left, Math.max(bytes, WINDOW_BYTES));
    const object = await this.#bucket.get(key, {
      range: { offset: start, length },
      onlyIf: { etagMatches: etag },
    });
    if (!object || !("body" in object)) {
      throw new AppError(
        "file_changed",
        `Expected the file of ${all} bytes that the job began with, got ${object ? "another" : "none"}`,
      );
    }
    this.#window = await readInto(this.#window.buffer, object.body, length);
    this.#windowStart = start;
  }
}

/** `length` bytes of a body, in `buffer` if it is large enough: each window in the same memory. */
async function readInto(
  buffer: ArrayBuffer,
  body: ReadableStream<Uint8Array>,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const size = Math.max(length, WINDOW_BYTES);
  const whole = buffer.byteLength < size ? new ArrayBuffer(size) : buffer;
  const reader = body.getReader({ mode: "byob" });
  const view = new Uint8Array(whole, 0, length);
  const { value } = await reader.readAtLeast(length, view);
  if (value?.length !== length) throw endedEarly(length, value?.length ?? 0);
  return value as Uint8Array<ArrayBuffer>;
}
