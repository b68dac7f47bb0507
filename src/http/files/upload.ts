/** A body on its way to R2: piece by piece, so its size does not matter. */
import type { Context } from "hono";
import { AppError } from "../../api/errors.ts";

const PIECE_BYTES = 64 * 1024;

/**
 * The Content-Length of an upload of `what`, at most `maxBytes`; `otherwise` says what to do with more.
 * Errors: `length_required`, `body_too_large`
 */
export function uploadBytes(
  c: Context,
  what: string,
  maxBytes: number,
  otherwise = "",
): number {
  const header = c.req.header("Content-Length");
  if (header === undefined || !/^\d{1,15}$/.test(header)) {
    throw new AppError(
      "length_required",
      `Expected a Content-Length, got ${header === undefined ? "none" : `"${header}"`}`,
    );
  }
  const bytes = Number(header);
  if (bytes <= maxBytes) return bytes;
  throw new AppError(
    "body_too_large",
    `Expected a ${what} of at most ${maxBytes} bytes, got ${bytes}${otherwise}`,
  );
}

/**
 * Store a body of exactly `bytes` bytes under `key`; returns its SHA-256 in hexadecimal.
 * Errors: `malformed_body` when it has another length; nothing is stored then
 */
export async function storeUpload(
  bucket: R2Bucket,
  key: string,
  body: ReadableStream<Uint8Array> | null,
  bytes: number,
): Promise<string> {
  if (!body) throw wrongLength(bytes, 0);
  const { readable, writable } = new FixedLengthStream(bytes);
  const digest = new crypto.DigestStream("SHA-256");
  const stored = bucket.put(key, readable);
  const writers = [writable.getWriter(), digest.getWriter()];
  // `copy` tells of what fails; these would tell of it again, to nobody.
  const others = [
    stored,
    digest.digest,
    ...writers.map(({ closed }) => closed),
  ];
  for (const promise of others) promise.catch(() => {});
  await copy(body, writers, bytes);
  await stored;
  return toHex(await digest.digest);
}

async function copy(
  body: ReadableStream<Uint8Array>,
  writers: WritableStreamDefaultWriter<Uint8Array>[],
  bytes: number,
): Promise<void> {
  let copied = 0;
  try {
    const reader = body.getReader({ mode: "byob" });
    let piece = new Uint8Array(PIECE_BYTES);
    for (;;) {
      const { value, done } = await reader.readAtLeast(PIECE_BYTES, piece);
      if (value && value.length > 0) {
        copied += value.length;
        if (copied > bytes) throw wrongLength(bytes, copied);
        await Promise.all(writers.map((writer) => writer.write(value)));
      }
      if (done) break;
      piece = new Uint8Array(value.buffer);
    }
    if (copied < bytes) throw wrongLength(bytes, copied);
    await Promise.all(writers.map((writer) => writer.close()));
  } catch (cause) {
    await Promise.allSettled(writers.map((writer) => writer.abort(cause)));
    if (cause instanceof AppError) throw cause;
    throw wrongLength(bytes, copied, { cause });
  }
}

function wrongLength(
  expected: number,
  got: number,
  options?: ErrorOptions,
): AppError {
  return new AppError(
    "malformed_body",
    `Expected a body of ${expected} bytes, as Content-Length says; got ${got}`,
    options,
  );
}

function toHex(bytes: ArrayBuffer): string {
  return Array.from(new Uint8Array(bytes), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}
