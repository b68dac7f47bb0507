import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import {
  int6PanelBytes,
  matmulInt6,
  packEdenInto,
} from "../../src/kernels/int6-matmul.ts";
import { byColumns, byRows, type Operand } from "../../src/kernels/matmul.ts";
import {
  matmulMxfp4,
  packMxfp4,
  type Side,
} from "../../src/kernels/mxfp4-matmul.ts";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import { matmul, transpose } from "../reference/matmul.ts";
import * as twin from "../reference/mxfp4.ts";
import { rotate, signs } from "../support/mxfp4.ts";
import { normals, uniform } from "../support/random.ts";

const { fround } = Math;
const SIGNS = signs(64, noiseKey(3, PURPOSE.gemmSigns, 0, 0, 0, 0, 1));

function packEden(
  side: Side,
  operand: Operand,
  rows: number,
  k: number,
  drawn: number,
): number {
  const panel = arena.alloc(int6PanelBytes(side, rows, k));
  packEdenInto(panel, side, operand, rows, k, drawn);
  return panel;
}

type Layout = "rows" | "columns";
type Segment = { integers: number[]; scale: number };

/** Integers and scale of every segment, read from the panel that int6-panel.ts draws. */
function pack(
  side: Side,
  x: Float32Array,
  rows: number,
  k: number,
  layout: Layout,
): Segment[] {
  const panel = arena.scope(() => {
    const source = arena.copyIn(layout === "rows" ? x : transpose(x, rows, k));
    const operand =
      layout === "rows" ? byRows(source, k) : byColumns(source, rows);
    const at = packEden(side, operand, rows, k, arena.copyIn(SIGNS));
    return new DataView(
      arena.u8(at, int6PanelBytes(side, rows, k)).slice().buffer,
    );
  });
  const groups = k / 64;
  const [together, groupBytes, stride, offset, scales] =
    side === "a" ? [4, 288, 16, 0, 272] : [8, 544, 32, 31, 512];
  return Array.from({ length: rows * groups }, (_, index) => {
    const [row, group] = [Math.floor(index / groups), index % groups];
    const at = (Math.floor(row / together) * groups + group) * groupBytes;
    const half = Math.floor((row % together) / 4) * 16;
    const integers = Array.from({ length: 64 }, (_, i) => {
      const byte = 4 * (row % 4) + [0, 2, 1, 3][i % 4]!;
      return (
        panel.getInt8(at + Math.floor(i / 4) * stride + half + byte) - offset
      );
    });
    if (side === "a") {
      // Where the sums of bytes 0 and 1, and of 2 and 3, start.
      for (const part of [0, 1]) {
        const sum = integers.reduce(
          (total, value, i) => total + ((i & 1) === part ? value : 0),
          0,
        );
        expect(panel.getInt16(at + 256 + 4 * (row % 4) + 2 * part, true)).toBe(
          0 - 31 * sum,
        );
      }
    }
    const scale = panel.getFloat32(at + scales + 4 * (row % together), true);
    return { integers, scale };
  });
}

/** From the definition: Algorithm 1 on both blocks, then ⟨x, x⟩ / ⟨x, Q(x)⟩, rounded as the kernel does. */
function eden(x: Float32Array): Segment {
  const blocks = [x.subarray(0, 32), x.subarray(32)];
  const own = blocks.map((block) => twin.scaleByte(Array.from(block), "floor"));
  const shared = Math.max(Math.min(...own), Math.max(...own) - 1);
  const integers: number[] = [];
  const sums = { xx: 0, xq: 0 };
  for (const [index, block] of blocks.entries()) {
    const scale = Math.max(own[index]!, shared);
    const weight = scale > shared ? 4 : 1;
    const v = block.map((value) => fround(value * 2 ** (127 - scale)));
    const q = v.map((value) => {
      const magnitude = twin.E2M1[twin.nearestCode(Math.abs(value), "even")]!;
      return value < 0 ? -magnitude : magnitude;
    });
    sums.xx = fround(sums.xx + fround(weight * inOrder(v, v)));
    sums.xq = fround(sums.xq + fround(weight * inOrder(v, q)));
    integers.push(...q.map((value) => value * (scale > shared ? 4 : 2) + 0));
  }
  const factor = sums.xq === 0 ? 0 : fround(sums.xx / sums.xq);
  return { integers, scale: fround(fround(factor * 2 ** (shared - 127)) / 2) };
}

/** Σ a · b in f32, four by four: (0 + 1) + (2 + 3). */
function inOrder(a: Float32Array, b: Float32Array): number {
  const p = (i: number) => fround(a[i]! * b[i]!);
  let sum = 0;
  for (let i = 0; i < a.length; i += 4) {
    const pairs = fround(p(i) + p(i + 1)) + fround(p(i + 2) + p(i + 3));
    sum = fround(sum + fround(pairs));
  }
  return sum;
}

/** Segments of normal draws at many sizes, and such whose two blocks are far apart, or zero. */
function segments(count: number): Float32Array {
  const x = normals(64 * count, 21);
  for (let segment = 0; segment < count; segment++) {
    const size = 2 ** ((segment * 7) % 40) / 2 ** 20;
    const ratio = [1, 1, 0.4, 0.1, 1e-6, 0][segment % 6]!;
    for (let i = 0; i < 64; i++) {
      x[64 * segment + i]! *= size * (i < 32 ? ratio : 1);
    }
  }
  return rotate(x, SIGNS, "inverse");
}

describe("packEden", () => {
  it.each([
    ["a", "rows"],
    ["a", "columns"],
    ["b", "rows"],
    ["b", "columns"],
  ] as const)("side %s by %s is its definition to the bit", (side, layout) => {
    for (const [rows, k] of [
      [4, 64],
      [13, 192],
      [24, 128],
      [264, 128], // more than go through all k together
    ] as const) {
      const x = segments((rows * k) / 64);
      const rotated = rotate(x, SIGNS);
      const got = pack(side, x, rows, k, layout);
      for (const [index, segment] of got.entries()) {
        const own = rotated.subarray(64 * index, 64 * index + 64);
        const want = eden(own);
        expect(
          segment.integers.map((v) => v + 0),
          `segment ${index}`,
        ).toEqual(want.integers);
        expect(segment.scale, `segment ${index}`).toBe(want.scale);
      }
    }
  });

  it("makes the row of a NaN or an infinity NaN, and leaves zeros", () => {
    const x = normals(4 * 128, 22);
    x[5] = NaN;
    x[128 + 70] = -Infinity;
    x.fill(0, 2 * 128, 3 * 128);
    const scales = pack("a", x, 4, 128, "rows").map(({ scale }) => scale);
    expect(scales[0]).toBeNaN();
    expect(scales[3]).toBeNaN();
    expect(scales.slice(4, 6)).toEqual([0, 0]);
    expect(scales[1]).toBeGreaterThan(0);
  });
});

describe("segments too small for a scale", () => {
  /** The least f32, what becomes zero in every code, and what does in some. */
  const SIZES = [2 ** -149, 2 ** -140, 2 ** -133, 2 ** -130, 2 ** -128];

  it.each([
    ["a", "rows"],
    ["a", "columns"],
    ["b", "rows"],
    ["b", "columns"],
  ] as const)("are zero, side %s by %s", (side, layout) => {
    for (const size of SIZES) {
      const x = normals(8 * 128, 25).map((value) => fround(size * value));
      // A row whose second segment is as others are.
      x.set(normals(64, 26), 5 * 128 + 64);
      const scales = pack(side, x, 8, 128, layout).map(({ scale }) => scale);
      const ordinary = scales.splice(2 * 5 + 1, 1);
      expect(scales, `${size}`).toEqual(scales.map(() => 0));
      expect(ordinary[0]).toBeGreaterThan(0);
    }
  });

  it("leave the rest of a product as it is", () => {
    const [m, n, k] = [8, 8, 128];
    const product = (size: number) => {
      const a = normals(m * k, 27).map((value, i) =>
        fround(value * (i % k < 64 ? size : 1)),
      );
      return arena.scope(() => {
        const drawn = arena.copyIn(SIGNS);
        const left = packEden("a", byRows(arena.copyIn(a), k), m, k, drawn);
        const b = arena.copyIn(normals(n * k, 28));
        const right = packEden("b", byRows(b, k), n, k, drawn);
        const out = arena.allocF32(m * n);
        matmulInt6(out, left, right, arena.allocZeroedF32(n), m, n, k);
        return arena.f32(out, m * n).slice();
      });
    };
    const without = product(0);
    expect(without.every((value) => Number.isFinite(value))).toBe(true);
    for (const size of SIZES) expect(product(size), `${size}`).toEqual(without);
  });
});

describe("products of operands packed so", () => {
  const [m, n, k] = [32, 24, 512];

  /** Each draw of signs anew: mean of the relative squared errors, and that of the mean. */
  function errors(
    product: (draw: number) => Float32Array,
    exact: Float64Array,
    draws: number,
  ) {
    const total = exact.reduce((sum, value) => sum + value ** 2, 0);
    const distance = (x: ArrayLike<number>) =>
      exact.reduce((sum, value, i) => sum + (x[i]! - value) ** 2, 0) / total;
    const mean = new Float64Array(m * n);
    let one = 0;
    for (let draw = 0; draw < draws; draw++) {
      const out = product(draw);
      one += distance(out) / draws;
      for (let i = 0; i < m * n; i++) mean[i]! += out[i]! / draws;
    }
    const slope =
      exact.reduce((sum, value, i) => sum + mean[i]! * value, 0) / total;
    return { one, ofMean: distance(mean), slope };
  }

  it.each(["normal draws", "outliers"])(
    "have at most 0.55 of stochastic rounding's error, and no bias that 64 draws show: %s",
    (kind) => {
      const draw = uniform(31);
      const operand = (rows: number, seed: number) =>
        normals(rows * k, seed).map((x) =>
          kind === "outliers" && draw() < 0.02 ? 10 * x : x,
        );
      const [a, b] = [operand(m, 23), operand(n, 24)];
      const exact = matmul(a, b, m, n, k).out;
      const signsOf = (index: number) =>
        signs(64, noiseKey(index, PURPOSE.gemmSigns, 1));
      const own = errors(
        (index) =>
          arena.scope(() => {
            const drawn = arena.copyIn(signsOf(index));
            const left = packEden("a", byRows(arena.copyIn(a), k), m, k, drawn);
            const right = packEden(
              "b",
              byRows(arena.copyIn(b), k),
              n,
              k,
              drawn,
            );
            const out = arena.allocF32(m * n);
            const zeros = arena.allocZeroedF32(n);
            matmulInt6(out, left, right, zeros, m, n, k);
            return arena.f32(out, m * n).slice();
          }),
        exact,
        64,
      );
      const stochastic = errors(
        (index) =>
          arena.scope(() => {
            const drawn = arena.copyIn(signsOf(index));
            const side = (name: Side, x: Float32Array, rows: number) =>
              packMxfp4(name, byRows(arena.copyIn(x), k), rows, k, {
                signs: drawn,
                rounding: noiseKey(index, PURPOSE.gemmRounding, rows),
              });
            const [left, right] = [side("a", a, m), side("b", b, n)];
            const out = arena.allocF32(m * n);
            matmulMxfp4(out, left, right, m, n, k, 16 / 9);
            return arena.f32(out, m * n).slice();
          }),
        exact,
        64,
      );
      expect(own.one).toBeLessThan(0.55 * stochastic.one);
      // Falling as 1/n, the error of the mean of 64 is a 64th.
      expect(own.ofMean).toBeLessThan((1.5 * own.one) / 64);
      expect(own.slope).toBeGreaterThan(0.997);
      expect(own.slope).toBeLessThan(1.003);
    },
  );
});
