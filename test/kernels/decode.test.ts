/** The kernels that write text against their twins; bounds.test.ts has what they read and write. */
import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import * as decode from "../../src/kernels/decode.ts";
import * as twin from "../reference/decode.ts";
import { expectClose, F32_EPSILON } from "../support/close.ts";
import { normals } from "../support/random.ts";

/** Fewer than a vector, whole ones, and what is left behind them. */
const LENGTHS = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 64];
const ROWS = [1, 2, 3, 5, 7, 8, 9, 16, 19];

function read(pointer: number, length: number): Float32Array<ArrayBuffer> {
  return arena.f32(pointer, length).slice();
}

/** Codes and scales of rows of MXFP4; among the scales 0, the least, and one that is near to the largest. */
function mxfp4Rows(rows: number, columns: number) {
  const codes = Uint8Array.from(
    { length: (rows * columns) / 2 },
    (_, i) => i * 73 + (i >> 3),
  );
  const scales = Uint8Array.from(
    { length: (rows * columns) / 32 },
    (_, i) => [127, 120, 1, 130, 126, 200][i % 6]!,
  );
  return { codes, scales };
}

/** Panels of 8 rows of MXFP4, in the caller's scope. */
function mxfp4Panels(
  { codes, scales }: ReturnType<typeof mxfp4Rows>,
  rows: number,
  columns: number,
): number {
  const blocks = columns / 32;
  const bytes = decode.decodePanelBytes("mxfp4", columns);
  const count = Math.ceil(rows / 8);
  const panels = arena.alloc(bytes * count);
  for (let panel = 0; panel < count; panel++) {
    const first = 8 * panel;
    const own = Math.min(8, rows - first);
    // Block by block, as a file comes.
    for (let block = 0; block < blocks; block++) {
      const part = (array: Uint8Array, width: number) =>
        Uint8Array.from({ length: own * width }, (_, i) => {
          const row = first + Math.floor(i / width);
          return array[(row * blocks + block) * width + (i % width)]!;
        });
      arena.scope(() =>
        decode.packPanelMxfp4(
          panels + bytes * panel,
          block,
          arena.copyIn(part(codes, 16)),
          arena.copyIn(part(scales, 1)),
          own,
          1,
        ),
      );
    }
  }
  return panels;
}

/** Panels of 8 rows of f32 [rows, columns], by rows or from its transpose. */
function f32Panels(
  w: Float32Array,
  rows: number,
  columns: number,
  layout: "rows" | "columns",
): number {
  const bytes = decode.decodePanelBytes("f32", columns);
  const count = Math.ceil(rows / 8);
  const panels = arena.alloc(bytes * count);
  const lying =
    layout === "rows"
      ? w
      : w.map((_, at) => w[(at % rows) * columns + Math.floor(at / rows)]!);
  const [rowStride, columnStride] =
    layout === "rows" ? [columns, 1] : [1, rows];
  const source = arena.copyIn(lying);
  for (let panel = 0; panel < count; panel++) {
    decode.packPanelF32(
      panels + bytes * panel,
      source + 4 * 8 * panel * rowStride,
      Math.min(8, rows - 8 * panel),
      columns,
      rowStride,
      columnStride,
    );
  }
  return panels;
}

describe("products of panels", () => {
  it.each(["rows", "columns"] as const)(
    "of f32 by %s are sums in order of k, to the bit",
    (layout) => {
      for (const rows of ROWS) {
        for (const [columns, tokens] of [
          [1, 1],
          [5, 3],
          [33, 2],
        ] as const) {
          const w = normals(rows * columns, rows);
          const x = normals(tokens * columns, columns);
          arena.scope(() => {
            const out = arena.allocF32(tokens * rows);
            const panels = f32Panels(w, rows, columns, layout);
            const factor = decode.factorOf(
              "f32",
              arena.copyIn(x),
              tokens,
              columns,
            );
            decode.multiplyDecodePanels(
              "f32",
              out,
              rows,
              panels,
              factor,
              rows,
              columns,
              tokens,
            );
            expect(read(out, tokens * rows)).toEqual(
              twin.multiplyF32(w, x, rows, columns, tokens),
            );
          });
        }
      }
    },
  );

  it("of MXFP4 are exact within a block and added block by block", () => {
    const { fround } = Math;
    for (const rows of ROWS) {
      for (const [columns, tokens] of [
        [32, 1],
        [96, 3],
      ] as const) {
        const weights = mxfp4Rows(rows, columns);
        const { codes, scales } = weights;
        const x = normals(tokens * columns, columns + rows);
        const expected = Float32Array.from(
          { length: tokens * rows },
          (_, at) => {
            const [t, r] = [Math.floor(at / rows), at % rows];
            let sum = 0;
            for (let block = 0; block < columns; block += 32) {
              const from = t * columns + block;
              const { integers, scale } = twin.quantizeI16(
                x.subarray(from, from + 32),
              );
              const own = 2 ** (scales[(r * columns + block) / 32]! - 127);
              let dot = 0;
              for (const [i, integer] of integers.entries()) {
                const k = block + i;
                const value = twin.mxfp4Value(codes, scales, columns, r, k);
                dot += 2 * (value / own) * integer;
              }
              sum = fround(sum + fround(fround(dot * scale) * own));
            }
            return sum;
          },
        );
        arena.scope(() => {
          const out = arena.allocF32(tokens * rows);
          const panels = mxfp4Panels(weights, rows, columns);
          const at = arena.copyIn(x);
          const factor = decode.factorOf("mxfp4", at, tokens, columns);
          decode.multiplyDecodePanels(
            "mxfp4",
            out,
            rows,
            panels,
            factor,
            rows,
            columns,
            tokens,
          );
          expect(read(out, tokens * rows)).toEqual(expected);
        });
      }
    }
  });

  it.each([
    { name: "zeros", fill: 0, scale: 0 },
    { name: "what is below 2^−100", fill: 2 ** -101, scale: 0 },
    { name: "an infinity", fill: Infinity, scale: NaN },
    { name: "NaN", fill: NaN, scale: NaN },
  ])(
    "a block with $name has the scale $scale, its neighbour its own",
    ({ fill, scale }) => {
      for (let lane = 0; lane < 32; lane += 5) {
        const x = normals(64, lane);
        if (Number.isFinite(fill)) x.fill(fill, 0, 32);
        else x[lane] = fill;
        arena.scope(() => {
          const factor = decode.factorOf("mxfp4", arena.copyIn(x), 1, 64);
          const [first, second] = read(factor.scales, 2);
          expect(first).toBe(scale);
          expect(second).toBe(twin.quantizeI16(x.subarray(32)).scale);
          if (scale === 0)
            expect(arena.i32(factor.x, 16)).toEqual(new Int32Array(16));
        });
      }
    },
  );

  it("give back any row", () => {
    for (const rows of [3, 8]) {
      const columns = 64;
      const weights = mxfp4Rows(rows, columns);
      const w = normals(rows * columns, 3);
      arena.scope(() => {
        const ofMxfp4 = mxfp4Panels(weights, rows, columns);
        const ofF32 = f32Panels(w, rows, columns, "rows");
        const out = arena.allocF32(columns);
        for (let row = 0; row < rows; row++) {
          decode.panelRow("f32", out, ofF32, row, columns);
          expect(read(out, columns)).toEqual(
            w.slice(row * columns, (row + 1) * columns),
          );
          decode.panelRow("mxfp4", out, ofMxfp4, row, columns);
          const { codes, scales } = weights;
          expect(read(out, columns)).toEqual(
            // Integers have one zero.
            Float32Array.from(
              { length: columns },
              (_, k) => twin.mxfp4Value(codes, scales, columns, row, k) + 0,
            ),
          );
        }
      });
    }
  });
});

describe("attention over a cache", () => {
  it.each([
    { first: 0, tokens: 1, heads: 1, groups: 1, headWidth: 4 },
    { first: 0, tokens: 5, heads: 2, groups: 2, headWidth: 7 },
    { first: 9, tokens: 1, heads: 4, groups: 2, headWidth: 16 },
    { first: 3, tokens: 4, heads: 6, groups: 1, headWidth: 5 },
  ])("%o", (shape) => {
    const { first, tokens, heads, groups, headWidth } = shape;
    const width = heads * headWidth;
    const cached = (first + tokens) * groups * headWidth;
    // Queries may lie in rows that hold more.
    const stride = width + 3;
    const wide = normals(tokens * stride, 1);
    const q = Float32Array.from(
      { length: tokens * width },
      (_, at) => wide[Math.floor(at / width) * stride + (at % width)]!,
    );
    const [keys, values] = [normals(cached, 2), normals(cached, 3)];
    arena.scope(() => {
      const out = arena.allocF32(tokens * width);
      const cache = { keys: arena.copyIn(keys), values: arena.copyIn(values) };
      decode.attend(
        out,
        arena.copyIn(wide),
        stride,
        cache,
        first,
        tokens,
        shape,
      );
      const want = twin.attend(q, keys, values, shape);
      // A score's error, of a sum of D products, is its weight's relative one; as much again for exp and the sums.
      const positions = first + tokens;
      const largest = Math.max(...values.map(Math.abs), ...wide.map(Math.abs));
      const bound =
        largest ** 2 * (4 * headWidth + 2 * positions + 16) * F32_EPSILON;
      expectClose(read(out, tokens * width), want, bound);
    });
  });
});

describe("between products", () => {
  it("sums, GELU and SwiGLU, of any length and in place", () => {
    for (const length of LENGTHS) {
      const a = normals(length, length).map((value) => 4 * value);
      const b = normals(length, length + 100);
      arena.scope(() => {
        const [x, y] = [arena.copyIn(a), arena.copyIn(b)];
        const out = arena.allocF32(length);
        decode.sum(out, x, y, length);
        expect(read(out, length)).toEqual(a.map((value, i) => value + b[i]!));
        decode.geluTanh(out, x, length);
        // A few roundings, relative to what goes in.
        const rounds = (...factors: number[]) =>
          16 *
          F32_EPSILON *
          factors.reduce((all, x) => all * (1 + Math.abs(x)), 1);
        const gelu = Float64Array.from(a, twin.geluTanh);
        expectClose(
          read(out, length),
          gelu,
          Float64Array.from(a, (v) => rounds(v)),
        );
        decode.swiglu(out, x, y, length);
        const silu = Float64Array.from(a, (value, i) =>
          twin.siluProduct(value, b[i]!),
        );
        const inNew = read(out, length);
        expectClose(
          inNew,
          silu,
          Float64Array.from(a, (v, i) => rounds(v, b[i]!)),
        );
        decode.swiglu(x, x, y, length);
        expect(read(x, length)).toEqual(inNew);
      });
    }
  });

  it("GELU and SwiGLU far from 0", () => {
    const x = Float32Array.of(-1e30, -200, -30, 0, 30, 200, 1e30, Infinity);
    arena.scope(() => {
      const at = arena.copyIn(x);
      const ones = arena.copyIn(new Float32Array(8).fill(1));
      const out = arena.allocF32(8);
      decode.geluTanh(out, at, 8);
      expect(Array.from(read(out, 8), Math.abs)).toEqual(
        [0, 0, 0, 0, 30, 200, 1e30, Infinity].map(Math.fround),
      );
      decode.swiglu(out, at, ones, 8);
      const silu = read(out, 8);
      expect(Array.from(silu.slice(3))).toEqual(
        [0, 30, 200, 1e30, Infinity].map(Math.fround),
      );
      expect(Math.abs(silu[0]!)).toBe(0);
      expect(silu[2]).toBeCloseTo(twin.siluProduct(-30, 1), 17);
    });
  });

  it("RMSNorm of rows that lie apart", () => {
    for (const width of LENGTHS) {
      const [rows, stride] = [3, width + 2];
      const x = normals(rows * stride, width);
      const weight = normals(width, 5);
      arena.scope(() => {
        const at = arena.copyIn(x);
        const weightAt = arena.copyIn(weight);
        decode.rmsNorm(at, at, weightAt, rows, width, 1e-5, stride);
        const out = read(at, rows * stride);
        for (let row = 0; row < rows; row++) {
          const from = row * stride;
          const own = x.subarray(from, from + width);
          expectClose(
            out.subarray(from, from + width),
            twin.rmsNorm(own, weight, Math.fround(1e-5)),
            twin
              .rmsNorm(own, weight, Math.fround(1e-5))
              .map((value) => (width + 8) * F32_EPSILON * Math.abs(value)),
          );
          expect(out.subarray(from + width, from + stride)).toEqual(
            x.subarray(from + width, from + stride),
          );
        }
      });
    }
  });

  it("rotary positions turn pairs, to the bit", () => {
    for (const headWidth of [2, 6, 8, 16]) {
      const [tokens, heads] = [3, 2];
      const stride = heads * headWidth + 1;
      const half = headWidth / 2;
      const x = normals(tokens * stride, headWidth);
      const angles = normals(tokens * half, 7);
      const [cosines, sines] = [angles.map(Math.cos), angles.map(Math.sin)];
      arena.scope(() => {
        const at = arena.copyIn(x);
        const turns = {
          cosines: arena.copyIn(cosines),
          sines: arena.copyIn(sines),
        };
        decode.rotary(at, turns, tokens, heads, headWidth, stride);
        const expected = x.slice();
        for (let token = 0; token < tokens; token++) {
          const of = (table: Float32Array) =>
            table.subarray(token * half, (token + 1) * half);
          for (let head = 0; head < heads; head++) {
            const from = token * stride + head * headWidth;
            const own = x.subarray(from, from + headWidth);
            expected.set(twin.rotary(own, of(cosines), of(sines)), from);
          }
        }
        expect(read(at, x.length)).toEqual(expected);
      });
    }
  });
});
