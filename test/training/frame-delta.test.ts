/** Frames of parameters as differences to the step before. */
import { describe, expect, test } from "vitest";
import {
  decodeFrame,
  encodeFrame,
  FRAME_HEADER_BYTES,
} from "../../src/api/frame.ts";
import {
  applyFrameDelta,
  encodeFrameDelta,
  frameOnto,
} from "../../src/api/frame-delta.ts";

/** The same each time. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function frameOf(words: Uint16Array<ArrayBuffer>, step: number) {
  return encodeFrame(
    {
      kind: "parameters",
      dtype: "bf16",
      step,
      microbatch: 0,
      start: 0,
      length: words.length,
    },
    new Uint8Array(words.buffer),
  );
}

const bf16 = (value: number) =>
  new Uint32Array(new Float32Array([value]).buffer)[0]! >>> 16;

/** Weights of 0.02 that move by a few hundredths of that. */
function trained(
  length: number,
): [Uint16Array<ArrayBuffer>, Uint16Array<ArrayBuffer>] {
  const draw = random(length);
  const before = new Uint16Array(length);
  const after = new Uint16Array(length);
  for (let i = 0; i < length; i++) {
    const value = 0.02 * (draw() + draw() + draw() - 1.5);
    before[i] = bf16(value);
    after[i] = bf16(value + 0.0006 * (draw() - 0.5));
  }
  return [before, after];
}

/** Every class of difference, with its least and its largest; NaNs, infinities, zeros of both signs. */
function extremes(): [Uint16Array<ArrayBuffer>, Uint16Array<ArrayBuffer>] {
  const special = [
    0, 0x8000, 0x7f80, 0xff80, 0x7fc0, 0xffff, 0x7fff, 1, 0x8001,
  ];
  const pairs = special.flatMap((a) => special.map((b) => [a, b] as const));
  for (let bits = 0; bits < 16; bits++)
    for (const off of [2 ** bits - 1, 2 ** bits, -(2 ** bits)])
      pairs.push([0x3f80, (0x3f80 + off) & 0xffff]);
  // So that most are alike, and the difference is smaller all the same.
  while (pairs.length < 4000) pairs.push([0x3f80, 0x3f80]);
  return [
    new Uint16Array(pairs.map(([a]) => a)),
    new Uint16Array(pairs.map(([, b]) => b)),
  ];
}

test.each([
  ["trained weights, one block", trained(5000), 0.5],
  ["a block and one", trained(64 * 1024 + 1), 0.5],
  ["several blocks", trained(3 * 64 * 1024 - 7), 0.5],
  ["nothing changed", [trained(64 * 1024)[0], trained(64 * 1024)[0]], 0.08],
  ["all that bf16 has", extremes(), 0.5],
] as const)(
  "%s: exact, and a share of the bytes",
  async (_what, [a, b], most) => {
    const [before, after] = [await frameOf(a, 6), await frameOf(b, 7)];
    const delta = encodeFrameDelta(before, after)!;
    expect(delta.length / after.length).toBeLessThan(most);
    const made = await frameOnto(await decodeFrame(before.slice()), delta);
    expect(made).toEqual(await decodeFrame(after));
    expect(made.step).toBe(7);
  },
);

test("what is no smaller is not made", async () => {
  const draw = random(1);
  const noise = () =>
    new Uint16Array(10_000).map(() => Math.floor(draw() * 2 ** 16));
  expect(
    encodeFrameDelta(await frameOf(noise(), 0), await frameOf(noise(), 1)),
  ).toBeUndefined();
});

describe("damage", async () => {
  const [a, b] = trained(2000);
  const [before, after] = [await frameOf(a, 0), await frameOf(b, 1)];
  const delta = encodeFrameDelta(before, after)!;
  const taken = async (damaged: Uint8Array) =>
    frameOnto(await decodeFrame(before.slice()), damaged);

  test.each([
    FRAME_HEADER_BYTES - 1, // the digest
    FRAME_HEADER_BYTES, // lengths of codes
    FRAME_HEADER_BYTES + 8,
    FRAME_HEADER_BYTES + 9, // bits
    delta.length - 2,
  ])("of byte %d makes other bytes than the digest is of", async (at) => {
    const damaged = delta.slice();
    damaged[at]! ^= 0x11;
    await expect(taken(damaged)).rejects.toMatchObject({
      code: expect.stringMatching(/digest_mismatch|malformed_frame/) as string,
    });
  });

  test("one that ends early, or goes on, is told", async () => {
    for (const length of [delta.length - 1, FRAME_HEADER_BYTES + 3])
      await expect(taken(delta.slice(0, length))).rejects.toMatchObject({
        code: "malformed_frame",
      });
    const longer = new Uint8Array(delta.length + 1);
    longer.set(delta);
    await expect(taken(longer)).rejects.toMatchObject({
      code: "malformed_frame",
    });
  });

  test("to another frame than it is of makes other bytes", async () => {
    const other = await frameOf(
      trained(2000)[1].map((bits) => bits ^ 1),
      0,
    );
    await expect(
      frameOnto(await decodeFrame(other), delta),
    ).rejects.toMatchObject({ code: "digest_mismatch" });
    const copy = other.slice();
    applyFrameDelta(copy, delta);
    expect(copy).not.toEqual(after);
  });
});
