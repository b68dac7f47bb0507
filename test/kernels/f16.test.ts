/** f16 and f64, to f32 and back, against the engine's own typed arrays. */
import "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import type { Pointer } from "../../src/kernels/arena.ts";
import { kernels } from "../../src/kernels/runtime.ts";
import { decodeF16, encodeF16, narrowF64 } from "../../src/kernels/vector.ts";
import { normals } from "../support/random.ts";

type Kernel = (out: Pointer, x: Pointer, length: number) => void;

/** Bytes of what a kernel writes for `input`, `outBytes` an element. */
function run(
  kernel: Kernel,
  input: Float32Array | Float64Array | Uint16Array,
  outBytes: number,
): ArrayBuffer {
  const { arena } = kernels();
  return arena.scope(() => {
    const x = arena.copyIn(input);
    const out = arena.alloc(input.length * outBytes);
    kernel(out, x, input.length);
    return arena.u8(out, input.length * outBytes).slice().buffer;
  });
}

const decode = (bits: Uint16Array) => new Float32Array(run(decodeF16, bits, 4));
const encode = (x: Float32Array) => new Uint16Array(run(encodeF16, x, 2));

const ALL_BITS = Uint16Array.from({ length: 65536 }, (_, i) => i);
const ALL_VALUES = Float32Array.from(new Float16Array(ALL_BITS.buffer));

/** The engine's f16 bits; whatever bits it gives a NaN are 0x7e00. */
function expected(x: Float32Array): Uint16Array {
  const bits = new Uint16Array(new Float16Array(x).buffer);
  return bits.map((word, i) => (Number.isNaN(x[i]!) ? 0x7e00 : word));
}

describe("f16", () => {
  it("all 65,536 decode exactly, −0 and NaNs included", () => {
    expect(decode(ALL_BITS)).toEqual(ALL_VALUES);
    expect(Object.is(decode(Uint16Array.of(0x8000))[0], -0)).toBe(true);
  });

  it("what was decoded comes back as it was", () => {
    const want = ALL_BITS.map((word, i) =>
      Number.isNaN(ALL_VALUES[i]!) ? 0x7e00 : word,
    );
    expect(encode(ALL_VALUES)).toEqual(want);
  });

  it("rounds to nearest even: at every midpoint, just below it and just above", () => {
    const finite = ALL_VALUES.filter((value) => value >= 0 && value < Infinity);
    finite.sort();
    // Above the last, 65504, lies infinity: as if the next were 65536.
    const midpoints = finite.map(
      (value, i) => (value + (finite[i + 1] ?? 65536)) / 2,
    );
    const words = new Uint32Array(midpoints.buffer);
    for (const step of [0, -1, 1]) {
      const x = new Float32Array(words.map((word) => word + step).buffer);
      expect(encode(x)).toEqual(expected(x));
      const negative = x.map((value) => -value);
      expect(encode(negative)).toEqual(expected(negative));
    }
  });

  it("f32 of every size, and lengths that fill no vector", () => {
    const corners = [0, -0, NaN, Infinity, -Infinity, 2 ** -149, -(2 ** -25)];
    const sizes = normals(4096, 8).map(
      (value, i) => value * 2 ** ((i % 277) - 149),
    );
    const x = Float32Array.of(...corners, 65520, 65519.996, 3e38, ...sizes);
    expect(encode(x)).toEqual(expected(x));
    for (let length = 1; length < 20; length++) {
      const part = x.slice(3, 3 + length);
      expect(encode(part)).toEqual(expected(part));
      expect(decode(encode(part))).toEqual(
        Float32Array.from(new Float16Array(part)),
      );
    }
  });
});

it("f64 narrows to nearest even", () => {
  const odd = [1 + 2 ** -24, 1 + 2 ** -24 + 2 ** -50, 1 + 3 * 2 ** -24];
  const corners = [0, -0, NaN, -Infinity, 2 ** -150, 1.5 * 2 ** -149, 1e300];
  const x = Float64Array.from(
    [...odd, ...corners, ...normals(500, 2)].flatMap((value) => [
      value,
      -value * (1 + 2 ** -40),
    ]),
  );
  for (const length of [x.length, 1, 2, 3, 5]) {
    const part = x.slice(0, length);
    const got = new Float32Array(run(narrowF64, part, 4));
    expect(got).toEqual(Float32Array.from(part));
  }
});
