/** Reads the body of a push into one buffer, which the caller frees. */
import { AppError } from "../../api/errors.ts";
import { FRAME_HEADER_BYTES, payloadBytes } from "../../api/frame.ts";
import { free } from "../../memory/free.ts";
import { MAX_SHARD_LENGTH } from "../../training/sharding.ts";

/** The frame of the largest shard, in f32. */
export const MAX_FRAME_BYTES =
  FRAME_HEADER_BYTES + payloadBytes("f32", MAX_SHARD_LENGTH);
const DISCARDED_BYTES = 64 * 1024;

/**
 * Reads all of `body`, of `declaredBytes` if given; `touch` is called as bytes arrive. Errors: `body_too_large`;
 * `malformed_body` if it breaks off
 */
export async function readFrame(
  body: ReadableStream<Uint8Array> | null,
  declaredBytes: number | undefined,
  touch: () => void,
): Promise<Uint8Array<ArrayBuffer>> {
  if (!body) return new Uint8Array(0);
  const reader = body.getReader({ mode: "byob" });
  // The runtime enforces a declared length; otherwise one extra byte shows whether the body is too long.
  let buffer = new ArrayBuffer(declaredBytes ?? MAX_FRAME_BYTES + 1);
  let length = 0;
  try {
    while (length < buffer.byteLength) {
      const { value, done } = await reader.read(new Uint8Array(buffer, length));
      if (value) {
        buffer = value.buffer as ArrayBuffer;
        length += value.length;
      }
      if (done) break;
      touch();
    }
  } catch (cause) {
    throw new AppError(
      "malformed_body",
      `Expected a frame of ${buffer.byteLength} bytes, got a body that broke off after ${length}`,
      { cause },
    );
  }
  const bytes = new Uint8Array(buffer, 0, length);
  if (length <= MAX_FRAME_BYTES) return bytes;
  free(bytes);
  await reader.cancel();
  throw frameTooLarge("more");
}

/** Reads and discards a body that is not needed, since a client that is still sending would not see the response. */
export async function discard(
  body: ReadableStream<Uint8Array> | null,
): Promise<void> {
  if (!body || body.locked) return;
  const reader = body.getReader({ mode: "byob" });
  let piece = new Uint8Array(DISCARDED_BYTES);
  for (let bytes = 0; bytes <= MAX_FRAME_BYTES; bytes += piece.length) {
    const { value, done } = await reader.readAtLeast(DISCARDED_BYTES, piece);
    if (done || !value) break;
    piece = new Uint8Array(value.buffer as ArrayBuffer);
  }
  free(piece);
  // A body that failed cannot and need not be cancelled.
  await reader.cancel().catch(() => {});
}

export function frameTooLarge(got: number | string): AppError {
  return new AppError(
    "body_too_large",
    `Expected a body of at most ${MAX_FRAME_BYTES} bytes, got ${got}`,
  );
}
