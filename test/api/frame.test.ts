/** Each thing that makes bytes no frame, alone: whatever else is wrong would hide that one of the checks is not there. */
import { describe, expect, test } from "vitest";
import {
  decodeFrame,
  encodeFrame,
  FRAME_HEADER_BYTES,
  type FrameHeader,
} from "../../src/api/frame.ts";

const LENGTH = 64;
const HEADER: FrameHeader = {
  kind: "gradient",
  dtype: "f32",
  step: 3,
  microbatch: 2,
  start: 4096,
  length: LENGTH,
};

/** A whole frame, changed before its digest is made anew: nothing but the change is wrong. */
async function resealed(
  change: (view: DataView) => void,
): Promise<Uint8Array<ArrayBuffer>> {
  const payload = Uint8Array.from({ length: 4 * LENGTH }, (_, i) => i);
  const frame = await encodeFrame(HEADER, payload);
  change(new DataView(frame.buffer));
  const covered = new Blob([frame.slice(0, 32), frame.slice(64)]);
  const digest = await crypto.subtle.digest(
    "SHA-256",
    await covered.arrayBuffer(),
  );
  frame.set(new Uint8Array(digest), 32);
  return frame;
}

test("a frame is read as it was made, and its digest is of all but itself", async () => {
  const frame = await resealed(() => {});
  expect(await decodeFrame(frame)).toMatchObject({
    ...HEADER,
    payload: frame.subarray(FRAME_HEADER_BYTES),
  });
});

describe("malformed", () => {
  test.each<[string, (view: DataView) => void, string]>([
    [
      "another magic",
      (view) => view.setUint8(0, 0),
      'magic "MXF4", got 00584634',
    ],
    [
      "an earlier version",
      (view) => view.setUint16(4, 1, true),
      "version 2, got 1",
    ],
    ["kind 0", (view) => view.setUint8(6, 0), "kind 1 or 2, got 0"],
    ["kind 3", (view) => view.setUint8(6, 3), "kind 1 or 2, got 3"],
    ["dtype 0", (view) => view.setUint8(7, 0), "dtype 1, 2, 3 or 4, got 0"],
    ["dtype 5", (view) => view.setUint8(7, 5), "dtype 1, 2, 3 or 4, got 5"],
    [
      "a dtype of fewer bytes",
      (view) => view.setUint8(7, 2),
      "192 bytes for 64 bf16 elements, got 320",
    ],
    [
      "fewer elements",
      (view) => view.setUint32(20, 32, true),
      "192 bytes for 32 f32 elements, got 320",
    ],
    [
      "more elements than any array has",
      (view) => view.setUint32(20, 2 ** 32 - 1, true),
      "got 320",
    ],
  ])("%s", async (_what, change, says) => {
    await expect(decodeFrame(await resealed(change))).rejects.toMatchObject({
      code: "malformed_frame",
      message: expect.stringContaining(says) as string,
    });
  });

  test.each([0, 1, FRAME_HEADER_BYTES - 1])("%i bytes", async (bytes) => {
    const frame = await resealed(() => {});
    await expect(decodeFrame(frame.slice(0, bytes))).rejects.toMatchObject({
      code: "malformed_frame",
      message: `Expected a frame with at least 64 bytes, got ${bytes}`,
    });
  });
});

test.each([
  ["a payload's first byte", FRAME_HEADER_BYTES],
  ["its last", FRAME_HEADER_BYTES + 4 * LENGTH - 1],
  ["the step", 8],
  ["the microbatch", 12],
  ["where it starts", 16],
  ["what is reserved", 31],
  ["the digest", 32],
])("%s is under the digest", async (_what, at) => {
  const frame = await resealed(() => {});
  frame[at]! ^= 1;
  await expect(decodeFrame(frame)).rejects.toMatchObject({
    code: "digest_mismatch",
  });
});
