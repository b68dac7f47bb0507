/** Writes chunks of any size to a multipart upload, in parts of equal size, as R2 requires. */
import { free } from "../../memory/free.ts";
import { inTime } from "../platform/long-wait.ts";

/** Size of every part except the last. */
export const PART_BYTES = 8 * 1024 * 1024;

export class PartWriter {
  readonly #upload: R2MultipartUpload;
  /** The uploaded parts. */
  readonly parts: R2UploadedPart[];
  readonly #part = new Uint8Array(PART_BYTES);
  #length = 0;

  /** `tail` has the bytes that were in no part yet; it is freed. */
  constructor(
    upload: R2MultipartUpload,
    parts: readonly R2UploadedPart[],
    tail = new Uint8Array(0),
  ) {
    this.#upload = upload;
    this.parts = [...parts];
    this.#part.set(tail);
    this.#length = tail.length;
    free(tail);
  }

  /** The bytes that are in no part yet. */
  get tail(): Uint8Array<ArrayBuffer> {
    return this.#part.subarray(0, this.#length);
  }

  /** Frees the buffer; nothing more may be written. */
  release(): void {
    free(this.#part);
  }

  /** `chunk` may be overwritten as soon as this has returned its promise. */
  async write(chunk: Uint8Array): Promise<void> {
    const isSplit = chunk.length >= PART_BYTES - this.#length;
    const bytes = isSplit ? chunk.slice() : chunk;
    for (let from = 0; from < bytes.length;) {
      const taken = bytes.subarray(from, from + PART_BYTES - this.#length);
      this.#part.set(taken, this.#length);
      this.#length += taken.length;
      from += taken.length;
      if (this.#length === PART_BYTES) await this.flush();
    }
  }

  /** Uploads the tail. Uploading a part number again replaces the part, so a crash after this changes nothing. */
  async flush(): Promise<void> {
    if (this.#length === 0) return;
    const number = this.parts.length + 1;
    const upload = this.#upload.uploadPart(number, this.tail);
    this.parts.push(await inTime(`part ${number} to be stored`, upload));
    this.#length = 0;
  }
}
