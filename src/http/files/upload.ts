/** Streams a body of any size to R2. */
import type { Context } from "hono";
import { hex, sha256 } from "../../api/digest.ts";
import { AppError } from "../../api/errors.ts";
import { free } from "../../memory/free.ts";
import { directoryStub } from "../../objects/directory/directory.ts";
import { LEASE_MS } from "../../objects/directory/sweep-alarm.ts";
import { takeBack } from "../../objects/directory/unfinished-uploads.ts";
import type { AppEnv, Env } from "../env.ts";
import { withHeartbeat } from "./heartbeat.ts";
import { PIECE_BYTES, Pieces } from "./pieces.ts";

/** Bodies up to this size are stored in one put. */
const SMALL_BYTES = 512 * 1024;
/** Size of every part but the last; R2 takes up to 10,000 parts of at least 5 MiB. */
const PART_BYTES = 8 * 1024 * 1024;

/**
 * The Content-Length of an upload of `what`, at most `maxBytes`; `otherwise` tells what to do with more. Errors:
 * `length_required`, `body_too_large`
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
 * Stores one part of exactly `bytes` bytes of an upload that the caller creates and completes. Errors: `malformed_body`
 * for another length
 */
export async function storePart(
  c: Context<AppEnv>,
  upload: R2MultipartUpload,
  number: number,
  bytes: number,
): Promise<Upload> {
  const source = new Pieces(c.req.raw.body, bytes);
  const sent = hashed(async (digester) => {
    const part = await sendPart(upload, number, bytes, source, digester);
    await source.expectEnd();
    return part.etag;
  });
  // As in `storeUpload`: runs to its end.
  c.executionCtx.waitUntil(sent.catch(() => {}));
  const { value: etag, digest } = await sent;
  return { digest, etag };
}

/** SHA-256 of the stored bytes in hexadecimal, and the ETag. */
export type Upload = { digest: string; etag: string };

/** Throws if the key must not be written any more; otherwise returns the condition for the bucket's put. */
type Check = () => Promise<R2Conditional>;

/**
 * Stores a body of exactly `bytes` bytes under `key`. Errors: `malformed_body` for another length, and those of
 * `check`; nothing is stored then
 */
export function storeUpload(
  c: Context<AppEnv>,
  key: string,
  bytes: number,
  check: Check = () => Promise.resolve({}),
): Promise<Upload> {
  const source = new Pieces(c.req.raw.body, bytes);
  const stored =
    bytes <= SMALL_BYTES
      ? storeSmall(c.env.BUCKET, key, source, bytes, check)
      : storeParts(c.env, key, source, bytes, check);
  // If the client disconnects, its request ends; what it has sent must still be removed.
  c.executionCtx.waitUntil(stored.catch(() => {}));
  return stored;
}

async function storeSmall(
  bucket: R2Bucket,
  key: string,
  source: Pieces,
  bytes: number,
  check: Check,
): Promise<Upload> {
  const whole = new Uint8Array(bytes);
  for (let at = 0; at < bytes;) {
    const piece = await source.next(bytes - at);
    whole.set(piece, at);
    at += piece.length;
  }
  await source.expectEnd();
  try {
    const digest = await sha256(whole);
    let stored: R2Object | null = null;
    // Null if another version was stored after `check`; the next `check` decides.
    while (!stored)
      stored = await bucket.put(key, whole, { onlyIf: await check() });
    return { digest, etag: stored.httpEtag };
  } finally {
    free(whole);
  }
}

/**
 * Always uses complete parts, also if the body breaks off: the local bucket never deletes what it has of a broken
 * stream, but deletes an aborted upload's parts.
 */
async function storeParts(
  env: Env,
  key: string,
  source: Pieces,
  bytes: number,
  check: Check,
): Promise<Upload> {
  const upload = await env.BUCKET.createMultipartUpload(key);
  const { uploadId } = upload;
  // A new stub each time: the old one is unusable if its object restarted.
  const directory = () => directoryStub(env);
  await directory().beginParts(uploadId, key);
  try {
    return await withHeartbeat(
      LEASE_MS / 5,
      () => directory().renewParts(uploadId),
      async () => {
        const { parts, digest } = await sendParts(upload, source, bytes);
        // Completing an upload takes no condition: this is the last check.
        await check();
        const { httpEtag } = await upload.complete(parts);
        return { digest, etag: httpEtag };
      },
    );
  } catch (error) {
    await takeBack(upload);
    throw error;
  } finally {
    await directory().endParts(uploadId);
  }
}

async function sendParts(
  upload: R2MultipartUpload,
  source: Pieces,
  bytes: number,
): Promise<{ parts: R2UploadedPart[]; digest: string }> {
  const { value: parts, digest } = await hashed(async (digester) => {
    const sent: R2UploadedPart[] = [];
    for (let at = 0; at < bytes; at += PART_BYTES) {
      const length = Math.min(PART_BYTES, bytes - at);
      sent.push(
        await sendPart(upload, sent.length + 1, length, source, digester),
      );
    }
    await source.expectEnd();
    return sent;
  });
  return { parts, digest };
}

/** The result of `body`, and the SHA-256 of what it wrote. */
async function hashed<T>(
  body: (digester: WritableStreamDefaultWriter<Uint8Array>) => Promise<T>,
): Promise<{ value: T; digest: string }> {
  const hash = new crypto.DigestStream("SHA-256");
  const digester = hash.getWriter();
  try {
    const value = await body(digester);
    await digester.close();
    return { value, digest: hex(await hash.digest) };
  } catch (error) {
    // Nobody awaits it any more.
    hash.digest.catch(() => {});
    await digester.abort(error).catch(() => {});
    throw error;
  }
}

/** If the body breaks off, the part is filled with zeros. */
async function sendPart(
  upload: R2MultipartUpload,
  number: number,
  length: number,
  source: Pieces,
  digester: WritableStreamDefaultWriter<Uint8Array>,
): Promise<R2UploadedPart> {
  const { readable, writable } = new FixedLengthStream(length);
  const writer = writable.getWriter();
  const uploaded = upload.uploadPart(number, readable);
  // Failures are reported by `uploaded` and the writes; without this, they would be unhandled rejections as well.
  for (const promise of [uploaded, writer.closed]) promise.catch(() => {});
  let at = 0;
  try {
    while (at < length) {
      const piece = await source.next(length - at);
      at += piece.length;
      await Promise.all([writer.write(piece), digester.write(piece)]);
    }
    await writer.close();
    return await uploaded;
  } catch (error) {
    const zeros = new Uint8Array(PIECE_BYTES);
    for (; at < length; at += PIECE_BYTES)
      await writer.write(zeros.subarray(0, length - at)).catch(() => {});
    await writer.close().catch(() => {});
    await uploaded.catch(() => {});
    throw error;
  }
}
