import { expect, test } from "vitest";
import { payloadBytes } from "../../src/api/frame.ts";
import { WIRE_DTYPES, type WireDtype } from "../../src/api/run-config.ts";
import {
  decodeGradient,
  EncodedGradient,
  slicePayload,
} from "../../src/training/gradient.ts";
import { arena } from "../support/kernels.ts";
import { normals } from "../support/random.ts";

const LENGTH = 4 * 4096 + 320;
const KEY = { seed: 5, step: 3, microbatch: 2 };

/** Values of many magnitudes, the same every time. */
const GRADIENT = Float32Array.from(
  { length: LENGTH },
  (_, i) => Math.sin(i * 12.9898) * 10 ** ((i % 7) - 5),
);

const TENSOR = {
  name: "",
  initial: { value: 0 },
  group: "vector",
  sideBySide: 1,
  layout: "in-out",
  isJoined: false,
} as const;

function encode(
  dtype: WireDtype,
  ranges: { start: number; length: number }[],
  key = KEY,
  gradient = GRADIENT,
  /** Where one tensor ends and the next begins. */
  cuts: number[] = [],
): Uint8Array[] {
  const parts = ranges.map((range) => ({
    ...range,
    payload: new Uint8Array(payloadBytes(dtype, range.length)),
  }));
  const sink = new EncodedGradient(dtype, key, parts);
  for (const [index, offset] of [0, ...cuts].entries()) {
    const end = cuts[index] ?? gradient.length;
    const length = end - offset;
    const tensor = { ...TENSOR, offset, length, shape: [length] };
    arena.scope(() => {
      const room = sink.open(tensor);
      arena.f32(room, length).set(gradient.subarray(offset, end));
      sink.close(tensor, room);
    });
  }
  return parts.map(({ payload }) => payload);
}

function decode(
  dtype: WireDtype,
  payload: Uint8Array,
  length: number,
  key = KEY,
  padding: { start: number; length: number }[] = [],
): Float32Array {
  return arena.scope(() => {
    const out = arena.allocF32(length);
    decodeGradient(out, dtype, payload, length, key, padding);
    return arena.f32(out, length).slice();
  });
}

test.each(WIRE_DTYPES)(
  "%s: how the vector is cut changes no value",
  (dtype) => {
    const [whole] = encode(dtype, [{ start: 0, length: LENGTH }]);
    const expected = decode(dtype, whole!, LENGTH);
    const ranges = [
      { start: 0, length: 4096 },
      { start: 4096, length: 2 * 4096 },
      { start: 3 * 4096, length: LENGTH - 3 * 4096 },
    ];
    const parts = encode(dtype, ranges);
    for (const [i, { start, length }] of ranges.entries()) {
      expect(parts[i]!.length).toBe(payloadBytes(dtype, length));
      expect(decode(dtype, parts[i]!, length)).toEqual(
        expected.slice(start, start + length),
      );
      expect(slicePayload(dtype, whole!, LENGTH, start, length)).toEqual(
        parts[i],
      );
    }
  },
);

test.each(WIRE_DTYPES)(
  "%s: how the vector is cut into tensors changes no byte",
  (dtype) => {
    const ranges = [
      { start: 0, length: 4096 },
      { start: 4096, length: LENGTH - 4096 },
    ];
    const cuts = [64, 4032, 3 * 4096];
    expect(encode(dtype, ranges, KEY, GRADIENT, cuts)).toEqual(
      encode(dtype, ranges),
    );
  },
);

test("f32 travels as it is, every NaN as the same one", () => {
  const gradient = GRADIENT.slice(0, 64);
  const bits = new Uint32Array(gradient.buffer);
  bits[3] = 0xffc12345;
  bits[9] = 0x7f800001;
  const [payload] = encode("f32", [{ start: 0, length: 64 }], KEY, gradient);
  const sent = new Uint32Array(payload!.slice().buffer);
  const expected = bits.slice();
  expected[3] = expected[9] = 0x7fc00000;
  expect(sent).toEqual(expected);
});

test.each(WIRE_DTYPES)("%s: padding is zero after decoding", (dtype) => {
  const [payload] = encode(dtype, [{ start: 0, length: LENGTH }]);
  const values = decode(dtype, payload!, LENGTH, KEY, [
    { start: 100, length: 28 },
    { start: LENGTH - 5, length: 5 },
  ]);
  expect([...values.subarray(100, 128)].every((x) => x === 0)).toBe(true);
  expect([...values.subarray(LENGTH - 5)].every((x) => x === 0)).toBe(true);
  expect(values[99]).not.toBe(0);
});

test("a NaN or an infinity makes its segment NaN in four bits, and stays what it is in bf16", () => {
  const gradient = GRADIENT.slice(0, 192);
  gradient[70] = Number.NaN;
  gradient[130] = Infinity;
  const range = [{ start: 0, length: 192 }];
  for (const dtype of ["mxfp4", "mxfp4-eden"] as const) {
    const [packed] = encode(dtype, range, KEY, gradient);
    const values = decode(dtype, packed!, 192);
    expect([...values.subarray(0, 64)].every(Number.isFinite)).toBe(true);
    expect([...values.subarray(64)].every(Number.isNaN)).toBe(true);
  }
  const [bits] = encode("bf16", range, KEY, gradient);
  const rounded = decode("bf16", bits!, 192);
  expect(rounded[70]).toBeNaN();
  expect(rounded[130]).toBe(Infinity);
});

/** Relative squared errors: of one draw, on the average over `count` keys, and of their mean. */
function errors(
  dtype: WireDtype,
  gradient: Float32Array<ArrayBuffer>,
  count: number,
) {
  const { length } = gradient;
  const power = gradient.reduce((sum, x) => sum + x * x, 0);
  const distance = (values: ArrayLike<number>) =>
    gradient.reduce((sum, x, i) => sum + (values[i]! - x) ** 2, 0) / power;
  const mean = new Float64Array(length);
  let one = 0;
  for (let microbatch = 0; microbatch < count; microbatch++) {
    const key = { ...KEY, microbatch };
    const [payload] = encode(dtype, [{ start: 0, length }], key, gradient);
    const values = decode(dtype, payload!, length, key);
    one += distance(values) / count;
    for (let i = 0; i < length; i++) mean[i]! += values[i]! / count;
  }
  const slope = mean.reduce((sum, x, i) => sum + x * gradient[i]!, 0) / power;
  return { one, ofMean: distance(mean), slope };
}

test.each(["mxfp4", "bf16"] as const)(
  "%s is unbiased: the error of a mean over n keys falls as 1/n",
  (dtype) => {
    const { one, ofMean } = errors(dtype, GRADIENT.slice(0, 4096), 256);
    expect(one).toBeGreaterThan(0);
    // 256 keys: 1/256 of the error within a few per cent; a bias would leave a plateau.
    expect((ofMean * 256) / one).toBeLessThan(1.3);
    expect((ofMean * 256) / one).toBeGreaterThan(0.7);
  },
);

test("mxfp4-eden has at most 0.55 of mxfp4's squared error, and no bias that a step's mean shows", () => {
  const heavy = GRADIENT.slice(0, 4096);
  for (const gradient of [heavy, normals(4096, 9).slice()]) {
    const stochastic = errors("mxfp4", gradient, 32);
    const eden = errors("mxfp4-eden", gradient, 32);
    expect(eden.one).toBeLessThan(0.55 * stochastic.one);
    // What signs and a Hadamard matrix leave of its bias is less than a hundredth of the error of one draw.
    expect(eden.ofMean).toBeLessThan((1 / 32 + 0.01) * eden.one);
    expect(Math.abs(eden.slope - 1)).toBeLessThan(1e-3);
  }
});

test("four bits and their scales are at most 0.55 bytes a value", () => {
  expect(payloadBytes("mxfp4", 64)).toBe(34);
  expect(payloadBytes("mxfp4-eden", 64)).toBe(35);
});

test("another key makes other bytes", () => {
  const range = [{ start: 0, length: LENGTH }];
  for (const dtype of ["mxfp4", "mxfp4-eden", "bf16"] as const) {
    const [payload] = encode(dtype, range);
    for (const change of [{ seed: 6 }, { step: 4 }, { microbatch: 0 }]) {
      expect(encode(dtype, range, { ...KEY, ...change })[0]).not.toEqual(
        payload,
      );
    }
  }
});
