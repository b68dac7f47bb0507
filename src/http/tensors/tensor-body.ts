/** Reads tensor bodies: the declared length and type, the header, then the data piece by piece. */
import type { Context } from "hono";
import { AppError } from "../../api/errors.ts";
import { declaredBytes } from "../body.ts";
import type { TensorFile } from "../../formats/containers/container.ts";
import {
  type RawHead,
  readTensorFile,
} from "../../formats/containers/containers.ts";
import { type ByteSource, endedEarly } from "../../formats/stream/source.ts";
import { free } from "../../memory/free.ts";
import { isolateMemory, type Reservation } from "../../memory/ledger.ts";

const BINARY = "application/octet-stream";
const SAFETENSORS = "application/vnd.safetensors";
const CURL_DEFAULT = "application/x-www-form-urlencoded";
/** Read-ahead, so that small tensors share a read. */
const READ_BYTES = 64 * 1024;
/** A larger buffer, for a long header, is not kept. */
const KEPT_BYTES = 1024 * 1024;

/** Memory per byte of a header until the answer is planned, and the limit per request. */
const HEADER_FACTOR = 24;
const MAX_HEADER_BYTES = 48 * 1024 * 1024;

export type OpenedBody = {
  source: BodySource;
  bytes: number;
  /** Call once: plans the answer from the header, whose memory is then released. */
  plan: <T>(make: (file: TensorFile) => T) => T;
};

/**
 * Checks how a body is declared and reads its header; the data is still to come. Errors: `length_required`,
 * `unsupported_media_type`, and those of `readTensorFile`
 */
export async function openTensors(
  c: Context,
  raw?: RawHead,
): Promise<OpenedBody> {
  checkContentType(c, raw ? [BINARY] : [BINARY, SAFETENSORS]);
  const bytes = bytesOf(c);
  const source = new BodySource(c.req.raw.body);
  let reservation: Reservation | undefined;
  try {
    let file: TensorFile | undefined = await readTensorFile(
      source,
      bytes,
      raw,
      async (headerBytes) => {
        const most = Math.min(MAX_HEADER_BYTES, headerBytes * HEADER_FACTOR);
        reservation = await isolateMemory.reserve(most);
      },
    );
    const plan = <T>(make: (file: TensorFile) => T): T => {
      const planned = file!;
      file = undefined;
      try {
        return make(planned);
      } finally {
        reservation?.release();
      }
    };
    return { source, bytes, plan };
  } catch (error) {
    reservation?.release();
    source.leave();
    throw error;
  }
}

/** A request's body, read into one buffer that is reused. */
export class BodySource implements ByteSource {
  readonly #reader: ReadableStreamBYOBReader | undefined;
  #buffer = new ArrayBuffer(0);
  /** Range of the buffer that was read but not yet taken. */
  #start = 0;
  #end = 0;
  #done = false;

  constructor(body: ReadableStream<Uint8Array> | null) {
    this.#reader = body?.getReader({ mode: "byob" });
    // Failures are reported by `take`.
    this.#reader?.closed.catch(() => {});
  }

  async take(bytes: number): Promise<Uint8Array> {
    const missing = bytes - (this.#end - this.#start);
    if (missing > 0) {
      this.#makeRoom(bytes);
      await this.#read(missing);
      const left = this.#end - this.#start;
      if (left < bytes) throw endedEarly(bytes, left);
    }
    const taken = new Uint8Array(this.#buffer, this.#start, bytes);
    this.#start += bytes;
    return taken;
  }

  /** Like `take`, but the caller owns the bytes, and frees them. */
  async takeAway(bytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const { buffer, byteOffset } = await this.take(bytes);
    const rest = new Uint8Array(buffer, this.#start, this.#end - this.#start);
    this.#buffer = rest.slice().buffer as ArrayBuffer;
    this.#start = 0;
    this.#end = rest.length;
    return new Uint8Array(buffer as ArrayBuffer, byteOffset, bytes);
  }

  /** Earlier results of `take` are invalid afterwards. Errors: `malformed_body` if the body is longer than declared */
  async expectEnd(): Promise<void> {
    this.#makeRoom(1);
    await this.#read(1);
    if (this.#end === this.#start) {
      free(new Uint8Array(this.#buffer));
      return;
    }
    throw new AppError(
      "malformed_body",
      "Expected the body to end at its declared length, got more",
    );
  }

  /** Stops reading; whoever answers handles the rest of the body. */
  leave(): void {
    this.#stop();
    this.#reader?.releaseLock();
  }

  /** Stops reading and cancels the body. */
  async cancel(reason: unknown): Promise<void> {
    this.#stop();
    // A body that failed cannot be cancelled, and need not be.
    await this.#reader?.cancel(reason).catch(() => {});
  }

  #stop(): void {
    this.#done = true;
    // During a read the buffer is detached.
    if (!this.#buffer.detached) free(new Uint8Array(this.#buffer));
  }

  /** Ensures a buffer for `bytes` bytes from `#start` on. */
  #makeRoom(bytes: number): void {
    const left = this.#end - this.#start;
    const size = Math.max(bytes, READ_BYTES);
    const { byteLength } = this.#buffer;
    const fits =
      byteLength >= size && (byteLength <= KEPT_BYTES || size > KEPT_BYTES);
    const buffer = fits ? this.#buffer : new ArrayBuffer(size);
    if (left > 0) {
      const rest = new Uint8Array(this.#buffer, this.#start, left);
      new Uint8Array(buffer).set(rest);
    }
    if (!fits) free(new Uint8Array(this.#buffer));
    this.#buffer = buffer;
    this.#start = 0;
    this.#end = left;
  }

  /** Reads at least `missing` more bytes, unless the body ends. */
  async #read(missing: number): Promise<void> {
    if (this.#done || !this.#reader) return;
    try {
      const view = new Uint8Array(this.#buffer, this.#end);
      const { value, done } = await this.#reader.readAtLeast(missing, view);
      if (value) {
        this.#buffer = value.buffer as ArrayBuffer;
        this.#end += value.length;
      }
      this.#done = done;
    } catch (cause) {
      throw new AppError(
        "malformed_body",
        `Expected ${missing} more bytes, got a body that broke off`,
        { cause },
      );
    }
  }
}

/** A missing Content-Type is accepted. */
function checkContentType(c: Context, accepted: readonly string[]): void {
  const header = c.req.header("Content-Type");
  const type = header?.split(";")[0]!.trim().toLowerCase();
  if (type !== undefined && !accepted.includes(type)) {
    const remedy =
      type === CURL_DEFAULT
        ? `, which curl sends unless told: -H "Content-Type: ${BINARY}"`
        : "";
    throw new AppError(
      "unsupported_media_type",
      `Expected Content-Type ${accepted.join(" or ")}, got "${header}"${remedy}`,
    );
  }
}

function bytesOf(c: Context): number {
  const bytes = declaredBytes(c);
  if (bytes !== undefined) return bytes;
  throw new AppError(
    "length_required",
    "Expected a Content-Length, from which the response's length follows, got none",
  );
}
