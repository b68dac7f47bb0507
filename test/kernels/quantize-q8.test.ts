/** Q8_0, against a slow twin by ggml's definition. */
import "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { Q8_BLOCK_BYTES, quantizeQ8 } from "../../src/kernels/q8.ts";
import { kernels } from "../../src/kernels/runtime.ts";
import { normals } from "../support/random.ts";

function quantize(x: Float32Array): Uint8Array {
  const { arena } = kernels();
  return arena.scope(() => {
    const bytes = (x.length / 32) * Q8_BLOCK_BYTES;
    const out = arena.alloc(bytes);
    quantizeQ8(out, arena.copyIn(x), x.length);
    return arena.u8(out, bytes).slice();
  });
}

/** C's roundf: the nearest integer, halves away from zero. */
function roundf(x: number): number {
  const whole = Math.trunc(x);
  return Math.abs(x - whole) >= 0.5 ? whole + Math.sign(x) : whole;
}

/** One block as ggml's quantize_row_q8_0_ref computes it, each step in f32. */
function twin(block: Float32Array): Uint8Array {
  const out = new DataView(new ArrayBuffer(Q8_BLOCK_BYTES));
  if (block.some((x) => !Number.isFinite(x))) {
    out.setUint16(0, 0x7e00, true);
    return new Uint8Array(out.buffer);
  }
  const most = block.reduce((a, x) => Math.max(a, Math.abs(x)), 0);
  const scale = Math.fround(most / 127);
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  const half = new Uint16Array(Float16Array.of(scale).buffer)[0]!;
  out.setUint16(0, half, true);
  block.forEach((x, i) => {
    const q = roundf(Math.fround(x * inverse));
    // Beyond i8 only where 1/scale overflows, with a scale that is 0 in f16.
    out.setInt8(2 + i, Math.max(-128, Math.min(127, Number.isNaN(q) ? 0 : q)));
  });
  return new Uint8Array(out.buffer);
}

function expectTwin(x: Float32Array): void {
  const got = quantize(x);
  for (let i = 0; i * 32 < x.length; i++) {
    const block = x.subarray(i * 32, (i + 1) * 32);
    const bytes = got.subarray(i * Q8_BLOCK_BYTES, (i + 1) * Q8_BLOCK_BYTES);
    expect(bytes, `block ${i}`).toEqual(twin(block));
  }
}

describe("Q8_0", () => {
  it("equals the twin, over all sizes", () => {
    expectTwin(
      normals(64 * 32, 3).map((x, i) => x * 2 ** (((i >> 5) % 60) - 40)),
    );
  });

  it("rounds halves away from zero, and what is just below them down", () => {
    // The largest is 127, so the scale is 1 and values are their own quotients.
    const below = 0.49999997;
    for (let lane = 0; lane < 32; lane++) {
      const block = new Float32Array(32).fill(0);
      block[(lane + 1) % 32] = -127;
      for (const value of [0.5, -0.5, 1.5, -2.5, below, -below, 126.5, -0]) {
        block[lane] = value;
        expectTwin(block);
        const q = new Int8Array(quantize(block).buffer)[2 + lane];
        expect(q).toBe(roundf(Math.fround(value)) + 0);
      }
    }
  });

  it("the largest stands in any lane, with either sign", () => {
    for (let lane = 0; lane < 32; lane++) {
      for (const sign of [1, -1]) {
        const block = normals(32, lane);
        block[lane] = sign * 99;
        expectTwin(block);
        expect(new Int8Array(quantize(block).buffer)[2 + lane]).toBe(
          sign * 127,
        );
      }
    }
  });

  it("zeros, subnormals and what f16's scale cannot hold", () => {
    for (const most of [0, 2 ** -149, 2 ** -126, 1e-6, 65504 * 127, 3e38]) {
      expectTwin(
        normals(32, 5).map((x, i) => (i === 7 ? most : x * most * 0.1)),
      );
    }
  });

  it("a NaN or an infinity is seen: the block's scale is NaN", () => {
    for (const special of [NaN, Infinity, -Infinity]) {
      const x = normals(96, 2);
      x[40] = special;
      expectTwin(x);
      const scales = new DataView(quantize(x).buffer);
      expect(scales.getUint16(34, true)).toBe(0x7e00);
    }
  });

  it("a length that is not whole blocks: says what was expected and what came", () => {
    expect(() => quantizeQ8(0, 0, 33)).toThrow(
      "Expected `length` to be a multiple of 32, got 33",
    );
  });
});
