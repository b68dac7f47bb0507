/** How bodies of pushes are read. */
import { expect, test, vi } from "vitest";
import type { AppError } from "../../src/api/errors.ts";
import {
  MAX_FRAME_BYTES,
  readFrame,
} from "../../src/objects/shard/frame-body.ts";

const PIECE_BYTES = 1024 * 1024;

/** Zeros. */
function bodyOf(length: number): ReadableStream<Uint8Array> {
  let left = length;
  return new ReadableStream({
    type: "bytes",
    pull(controller) {
      const bytes = Math.min(PIECE_BYTES, left);
      if (bytes === 0) {
        controller.close();
        controller.byobRequest?.respond(0);
        return;
      }
      left -= bytes;
      controller.enqueue(new Uint8Array(bytes));
    },
  });
}

test("a body is read whole, or as far as it may be", async () => {
  const read = (length: number, most: number) =>
    readFrame(bodyOf(length), most, () => {});
  expect((await read(MAX_FRAME_BYTES, MAX_FRAME_BYTES)).length).toBe(
    MAX_FRAME_BYTES,
  );
  expect((await read(3, 5)).length).toBe(3);
  expect((await read(MAX_FRAME_BYTES, 5)).length).toBe(5);
});

test("a body that comes too slowly is given up; one that comes just fast enough is not", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  try {
    for (const [pieceBytes, isSlow] of [
      [64 * 1024 - 1, true],
      [64 * 1024, false],
    ] as const) {
      const { readable, writable } = new FixedLengthStream(3 * pieceBytes);
      const writer = writable.getWriter();
      let touched = 0;
      const read = readFrame(readable, MAX_FRAME_BYTES, () => touched++).then(
        ({ length }) => length,
        ({ code, message }: AppError) => ({ code, message }),
      );
      const each = async () => {
        const before = touched;
        void writer.write(new Uint8Array(pieceBytes)).catch(() => {});
        await vi.waitFor(() => expect(touched).toBeGreaterThan(before));
        await vi.advanceTimersByTimeAsync(10_000);
      };
      await each();
      if (!isSlow) {
        await each();
        await each();
        void writer.close();
      }
      expect(await read).toEqual(
        isSlow
          ? {
              code: "unavailable",
              message:
                "Expected 65536 bytes of the body in 10 seconds or its end, got less after 65535 bytes; repeat the request",
            }
          : 3 * pieceBytes,
      );
    }
  } finally {
    vi.useRealTimers();
  }
});
