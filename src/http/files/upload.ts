/** A body on its way to R2: piece by piece, so its size does not matter. */
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

/** Up to this size a body is put whole. */
const SMALL_BYTES = 512 * 1024;
/** Of every part but the last; R2 takes 10,000 of at least 5 MiB. */
const PART_BYTES = 8 * 1024 * 1024;

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
 * One part, of exactly `bytes` bytes, of an upload that others begin and end.
 * Errors: `malformed_body` when it has another length
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
  // As with a whole one: what was begun goes to its end.
  c.executionCtx.waitUntil(sent.catch(() => {}));
  const { value: etag, digest } = await sent;
  return { digest, etag };
}

/** What is stored: the SHA-256 of its bytes in hexadecimal, and its ETag. */
export type Upload = { digest: string; etag: string };

/** Refuses to put what must not be by now, or tells what the bucket shall check with the put. */
type Check = () => Promise<R2Conditional>;

/**
 * Store a body of exactly `bytes` bytes under `key`.
 * Errors: `malformed_body` when it has another length, and what `check` throws; nothing is stored then
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
  // A client that leaves ends its request; what it has sent is taken back all the same.
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
    // None is stored where another version came behind the check, which the next one judges.
    while (!stored)
      stored = await bucket.put(key, whole, { onlyIf: await check() });
    return { digest, etag: stored.httpEtag };
  } finally {
    free(whole);
  }
}

/**
 * In parts, which are whole whatever becomes of the body: the local bucket keeps for ever what it has
 * of a stream that broke off, and takes back an upload's parts.
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
  // A new stub each time: one whose object restarted meanwhile is of no more use.
  const directory = () => directoryStub(env);
  await directory().beginParts(uploadId, key);
  try {
    return await withHeartbeat(
      LEASE_MS / 5,
      () => directory().renewParts(uploadId),
      async () => {
        const { parts, digest } = await sendParts(upload, source, bytes);
        // Parts are put together under no condition of the bucket's own: this is the last look.
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

/** What `body` gives, and the SHA-256 of what it wrote. */
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
    // Nobody waits for it any more.
    hash.digest.catch(() => {});
    await digester.abort(error).catch(() => {});
    throw error;
  }
}

/** A part that breaks off is filled up with zeros. */
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
  // `uploaded` and the writes tell of what fails; these would tell of it again, to nobody.
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
