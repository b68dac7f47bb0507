import { expect, test } from "vitest";
import { SharedBytes } from "../../src/memory/shared-bytes.ts";

/** Of several pieces, the last of them short. */
const newBytes = () => Uint8Array.from({ length: 800_004 }, (_, i) => i >> 8);
const read = async (body: ReadableStream) =>
  new Uint8Array(await new Response(body).arrayBuffer());
/** Expecting as many numbers one by one takes seconds. */
const areSame = (got: Uint8Array, expected: Uint8Array) =>
  got.length === expected.length &&
  got.every((byte, index) => byte === expected[index]);

test("bytes that are dropped while answers read them are freed with the last answer", async () => {
  const [bytes, expected] = [newBytes(), newBytes()];
  const shared = new SharedBytes(bytes);
  const answers = [shared.read().body, shared.read().body];
  shared.drop();
  expect(areSame(await read(answers[0]!), expected)).toBe(true);
  expect(bytes.length).toBe(expected.length);
  expect(areSame(await read(answers[1]!), expected)).toBe(true);
  await expect.poll(() => bytes.length).toBe(0);
});

test("bytes that nobody reads, or not to the end, are freed too; others stay", async () => {
  const [unread, left, kept] = [newBytes(), newBytes(), newBytes()];
  new SharedBytes(unread).drop();
  expect(unread.length).toBe(0);

  const shared = new SharedBytes(left);
  const reader = shared.read().body.getReader();
  await reader.read();
  shared.drop();
  expect(left.length).toBeGreaterThan(0);
  await reader.cancel();
  await expect.poll(() => left.length).toBe(0);

  const owned = new SharedBytes(kept);
  expect(areSame(await read(owned.read().body), kept)).toBe(true);
  expect(kept.length).toBeGreaterThan(0);
});
