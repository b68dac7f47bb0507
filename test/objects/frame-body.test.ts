/** Bodies of pushes whose sender does not say how long they are. */
import { expect, test } from "vitest";
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

test("a body as long as the largest frame is read whole", async () => {
  const bytes = await readFrame(bodyOf(MAX_FRAME_BYTES), undefined, () => {});
  expect(bytes.length).toBe(MAX_FRAME_BYTES);
});

test("one byte more is refused, though nobody said how many would come", async () => {
  const body = bodyOf(MAX_FRAME_BYTES + 1);
  // Of what is read its length alone: a report of all its bytes would take the runtime down.
  const read = readFrame(body, undefined, () => {}).then(
    ({ length }) => length,
  );
  await expect(read).rejects.toMatchObject({
    code: "body_too_large",
    message: `Expected a body of at most ${MAX_FRAME_BYTES} bytes, got more`,
  });
});
