/** Uploads a large file in parts, several at a time; after an interruption, only the missing ones. */
import { sha256 } from "../api/digest.ts";
import { AppError } from "../api/errors.ts";
import type { FileUpload, StoredFile, TensorBody } from "../api/tensors.ts";
import type { Http } from "./http.ts";

const MIB = 1024 * 1024;
/** Up to this size a file is sent in one request, well within the platform's limit. */
export const WHOLE_BYTES = 64 * MIB;
/** Size of every part except the last. */
const PART_BYTES = 32 * MIB;
/** Parts uploaded concurrently. */
const PARALLEL = 3;
/** Attempts, if parts are missing again after they were sent. */
const MAX_ROUNDS = 3;

/** The body, if it is too large for one request and can be sent in parts; a stream cannot. */
export function manyPartsOf(body: TensorBody): Blob | undefined {
  if (body instanceof Blob) return body.size > WHOLE_BYTES ? body : undefined;
  const isLarge = body instanceof Uint8Array && body.length > WHOLE_BYTES;
  return isLarge ? new Blob([body as Uint8Array<ArrayBuffer>]) : undefined;
}

export class PartsUpload {
  readonly #http: Http;
  readonly #path: string;
  readonly #file: Blob;
  readonly #onProgress: (sentBytes: number) => void;
  readonly #partBytes: number;
  #sentBytes = 0;

  /** Uploads `file` to `path`; `onProgress` gets the number of bytes sent. */
  constructor(
    http: Http,
    path: string,
    file: Blob,
    onProgress: (sentBytes: number) => void = () => {},
    partBytes = PART_BYTES,
  ) {
    this.#partBytes = partBytes;
    this.#http = http;
    this.#path = path;
    this.#file = file;
    this.#onProgress = onProgress;
  }

  async send(): Promise<StoredFile> {
    for (let round = 1; ; round++) {
      const upload = await this.#http.json<FileUpload>(
        "POST",
        `${this.#path}/uploads`,
        { bytes: this.#file.size, partBytes: this.#partBytes },
      );
      const path = `${this.#path}/uploads/${upload.upload}`;
      await this.#sendMissing(path, upload);
      try {
        return await this.#http.json("POST", `${path}/complete`);
      } catch (error) {
        const isMissing =
          error instanceof AppError && error.code === "parts_missing";
        if (!isMissing || round === MAX_ROUNDS) throw error;
      }
    }
  }

  async #sendMissing(path: string, { parts }: FileUpload): Promise<void> {
    const digests = new Map(parts.map(({ part, digest }) => [part, digest]));
    const count = Math.ceil(this.#file.size / this.#partBytes);
    this.#sentBytes = 0;
    let last = 0;
    let hasFailed = false;
    const sender = async (): Promise<void> => {
      while (last < count && !hasFailed) {
        const part = ++last;
        try {
          await this.#sendPart(path, part, digests.get(part));
        } catch (error) {
          hasFailed = true;
          throw error;
        }
      }
    };
    const senders = Array.from({ length: PARALLEL }, sender);
    await Promise.allSettled(senders);
    await Promise.all(senders);
  }

  /**
   * Skips a part that is present with this digest; an earlier file with the same name and sizes may have had other
   * bytes.
   */
  async #sendPart(
    path: string,
    part: number,
    present: string | undefined,
  ): Promise<void> {
    const start = (part - 1) * this.#partBytes;
    const bytes = this.#file.slice(start, start + this.#partBytes);
    if (
      present === undefined ||
      present !== (await sha256(await bytes.arrayBuffer()))
    ) {
      const response = await this.#http.request("PUT", `${path}/${part}`, {
        body: bytes,
        headers: { "Content-Type": "application/octet-stream" },
        timeoutMs: 0,
      });
      // Cancelling the body would close the connection, and the next part would need another.
      await response.arrayBuffer();
    }
    this.#sentBytes += bytes.size;
    this.#onProgress(this.#sentBytes);
  }
}
