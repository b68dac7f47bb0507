/** Reads the body of a push into one buffer, which the caller frees. */
import { AppError } from "../../api/errors.ts";
import { FRAME_HEADER_BYTES, payloadBytes } from "../../api/frame.ts";
import { free } from "../../memory/free.ts";
import { MAX_SHARD_LENGTH } from "../../training/sharding.ts";

/** The frame of the largest shard, in f32. */
export const MAX_FRAME_BYTES =
  FRAME_HEADER_BYTES + payloadBytes("f32", MAX_SHARD_LENGTH);
const DISCARDED_BYTES = 64 * 1024;

/** Slower, a body would hold its memory for too long: the least that comes in each interval, unless it is the last. */
const LEAST = { bytes: 64 * 1024, ms: 10_000 };

/**
 * Reads `body`, at most `mostBytes` of it; `touch` is called as bytes arrive, and may refuse more of them. Errors:
 * `malformed_body` if it breaks off; `unavailable` if it is too slow; those of `touch`
 */
export async function readFrame(
  body: ReadableStream<Uint8Array> | null,
  mostBytes: number,
  touch: () => void,
): Promise<Uint8Array<ArrayBuffer>> {
  if (!body) return new Uint8Array(0);
  const reader = body.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(mostBytes);
  let length = 0;
  let before = 0;
  let isSlow = false;
  const timer = setInterval(() => {
    isSlow = length - before < LEAST.bytes;
    before = length;
    if (isSlow) void reader.cancel().catch(() => {});
  }, LEAST.ms);
  try {
    while (length < mostBytes) {
      const { value, done } = await reader
        .read(new Uint8Array(buffer, length))
        .catch((cause: unknown) => {
          throw isSlow ? tooSlow(length) : brokenOff(mostBytes, length, cause);
        });
      if (value) {
        buffer = value.buffer as ArrayBuffer;
        length += value.length;
      }
      if (isSlow) throw tooSlow(length);
      if (done) break;
      touch();
    }
  } finally {
    clearInterval(timer);
    reader.releaseLock();
  }
  return new Uint8Array(buffer, 0, length);
}

function tooSlow(got: number): AppError {
  return new AppError(
    "unavailable",
    `Expected ${LEAST.bytes} bytes of the body in ${LEAST.ms / 1000} seconds or its end, got less after ${got} bytes; repeat the request`,
  );
}

function brokenOff(most: number, got: number, cause: unknown): AppError {
  return new AppError(
    "malformed_body",
    `Expected a frame of at most ${most} bytes, got a body that broke off after ${got}`,
    { cause },
  );
}

/**
 * Reads and discards a body that is not needed, since a client that is still sending would not see the response; but not
 * for longer than a slow one may take. Returns how many bytes came, at most a piece more than the largest frame has.
 */
export async function discard(
  body: ReadableStream<Uint8Array> | null,
): Promise<number> {
  if (!body || body.locked) return 0;
  const reader = body.getReader({ mode: "byob" });
  const end = () => reader.cancel().catch(() => {});
  const timer = setTimeout(() => void end(), LEAST.ms);
  let bytes = 0;
  try {
    let piece = new Uint8Array(DISCARDED_BYTES);
    while (bytes <= MAX_FRAME_BYTES) {
      const { value, done } = await reader.readAtLeast(DISCARDED_BYTES, piece);
      if (!value) break;
      bytes += value.length;
      if (done) break;
      piece = new Uint8Array(value.buffer as ArrayBuffer);
    }
    free(piece);
    return bytes;
  } finally {
    clearTimeout(timer);
    // A body that failed cannot and need not be cancelled.
    await end();
  }
}

export function frameTooLarge(got: number | string): AppError {
  return new AppError(
    "body_too_large",
    `Expected a body of at most ${MAX_FRAME_BYTES} bytes, got ${got}`,
  );
}
