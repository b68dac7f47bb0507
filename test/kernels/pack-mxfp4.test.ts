/** Panels hold the very integers and scales that rotating and quantizing row by row give. */
import "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { byColumns, byRows } from "../../src/kernels/matmul.ts";
import {
  packMxfp4,
  mxfp4PanelBytes,
  type Side,
} from "../../src/kernels/mxfp4-matmul.ts";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import { kernels } from "../../src/kernels/runtime.ts";
import * as twin from "../reference/mxfp4.ts";
import { quantize, rotate, signs } from "../support/mxfp4.ts";
import { normals } from "../support/random.ts";

const KEY = noiseKey(3, PURPOSE.gemmRounding, 0, 0, 0, 0, 0, 1);
const SIGNS = signs(64, noiseKey(3, PURPOSE.gemmSigns, 0, 0, 0, 0, 1));

type Layout = "rows" | "columns";
type Packing = { rotates: boolean; isStochastic: boolean };

function pack(
  side: Side,
  x: Float32Array,
  rows: number,
  k: number,
  layout: Layout,
  { rotates, isStochastic }: Packing,
): DataView {
  const { arena } = kernels();
  const stored = layout === "rows" ? x : transposed(x, rows, k);
  return arena.scope(() => {
    const source = arena.copyIn(stored);
    const operand =
      layout === "rows" ? byRows(source, k) : byColumns(source, rows);
    const panel = packMxfp4(side, operand, rows, k, {
      signs: rotates ? arena.copyIn(SIGNS) : undefined,
      rounding: isStochastic ? KEY : undefined,
    });
    return new DataView(
      arena.u8(panel, mxfp4PanelBytes(side, rows, k)).slice().buffer,
    );
  });
}

function transposed(x: Float32Array, rows: number, k: number): Float32Array {
  return x.map((_, i) => x[(i % rows) * k + Math.floor(i / rows)]!);
}

/** Integer and scale byte of one element, from the layout that assembly/mxfp4/mxfp4-panel.ts draws. */
function readPanel(
  panel: DataView,
  side: Side,
  k: number,
  row: number,
  column: number,
) {
  const group = Math.floor(column / 64);
  const groups = Math.ceil(k / 64);
  const block = Math.floor(column / 32) % 2;
  const unit = Math.floor((column % 64) / 4);
  const byte = 4 * (row % 4) + [0, 2, 1, 3][column % 4]!;
  if (side === "a") {
    const at = 64 + (Math.floor(row / 4) * groups + group) * 320;
    const word = 16 * block + 4 * (row % 4);
    return {
      integer: panel.getInt8(at + unit * 16 + byte),
      scale: panel.getUint32(at + 288 + word, true) >>> 23,
      start: panel.getInt16(at + 256 + word + (byte & 2), true),
    };
  }
  const at = 64 + (Math.floor(row / 8) * groups + group) * 576;
  const half = Math.floor(row / 4) % 2;
  const word = 32 * block + 4 * (row % 8);
  return {
    integer: panel.getInt8(at + (2 * unit + half) * 16 + byte) - 24,
    scale: (panel.getInt32(at + 512 + word, true) >> 23) + 129,
  };
}

function check(
  side: Side,
  x: Float32Array,
  rows: number,
  k: number,
  layout: Layout,
  packing: Packing,
) {
  const panel = pack(side, x, rows, k, layout, packing);
  const rotated = packing.rotates ? rotate(x, SIGNS) : x;
  const want = packing.isStochastic
    ? quantize(rotated, {
        rounding: { mode: "stochastic", key: KEY, firstElement: 0 },
        scale: "floor",
        prescale: 0.75,
      })
    : quantize(rotated, {
        rounding: { mode: "nearest-even" },
        scale: "floor",
        prescale: 1,
      });
  const sums = new Map<number, number>();
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < k; column++) {
      const index = row * k + column;
      const got = readPanel(panel, side, k, row, column);
      const scale = want.scales[index >> 5]!;
      const block = rotated.subarray(index & ~31, (index & ~31) + 32);
      if (scale === 255) {
        expect(got.scale).toBe(255);
        continue;
      }
      // A block that shares its neighbour's smaller scale is doubled.
      const isDoubled = got.scale === scale - 1;
      const element = twin.decodeElement(twin.codeAt(want.elements, index));
      const integer = (isDoubled ? 4 : 2) * element + 0;
      if (got.integer !== integer) {
        expect.fail(
          `row ${row}, k ${column}: expected ${integer}, got ${got.integer}`,
        );
      }
      if (block.some((value) => value !== 0)) {
        expect(isDoubled || got.scale === scale).toBe(true);
      }
      if (side === "b") continue;
      // A row's bytes 0 and 1 are k 0 and 2 of a unit, bytes 2 and 3 are k 1 and 3.
      const pair = 2 * (index >> 5) + (column & 1);
      const sum = (sums.get(pair) ?? 0) + got.integer;
      sums.set(pair, sum);
      if (column % 32 >= 30) expect(got.start).toBe(-24 * sum + 0);
    }
  }
}

const SIDES = ["a", "b"] as const;
const LAYOUTS = ["rows", "columns"] as const;
const PACKINGS: Packing[] = [false, true].flatMap((rotates) =>
  [false, true].map((isStochastic) => ({ rotates, isStochastic })),
);

describe.each(SIDES)("side %s", (side) => {
  describe.each(LAYOUTS)("stored by %s", (layout) => {
    it.each(PACKINGS)("equals quantizing row by row: %o", (packing) => {
      for (const rows of [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33]) {
        for (const k of [64, 128, 192]) {
          check(side, normals(rows * k, rows + k), rows, k, layout, packing);
        }
      }
      // Adjacent rows go 256 at a time through all k.
      check(side, normals(260 * 128, 2), 260, 128, layout, packing);
      if (!packing.rotates)
        check(side, normals(5 * 96, 1), 5, 96, layout, packing);
    });

    it.each(PACKINGS)("holds for values of every magnitude: %o", (packing) => {
      const k = 64;
      const x = normals(276 * k, 9).map(
        (value, i) => value * 2 ** (Math.floor(i / k) - 149),
      );
      check(side, x, 276, k, layout, packing);
    });

    it.each(PACKINGS)("rounds subnormals as the norm does: %o", (packing) => {
      // One value fills its rotated segment with ± an eighth of itself, which f32 rounds to 0.75 of the
      // least scale: a tie, and just below it before.
      const x = new Float32Array(4 * 64);
      for (const [row, ulps] of [-1, 1, -3, 3].entries())
        x[row * 64 + row] = 6 * 2 ** -127 + ulps * 2 ** -148;
      check(side, x, 4, 64, layout, packing);
      // The same in the fourth strip, beside a row of ordinary values.
      const more = normals(16 * 64, 3);
      more.set(x.subarray(0, 3 * 64), 12 * 64);
      check(side, more, 16, 64, layout, packing);
    });

    it.each(PACKINGS)(
      "a NaN or an infinity marks its blocks and no other: %o",
      (packing) => {
        for (const bad of [NaN, Infinity, -Infinity]) {
          for (const at of [0, 37, 64 * 3 + 5, 64 * 9 + 63]) {
            const x = normals(10 * 64, 4);
            x[at] = bad;
            check(side, x, 10, 64, layout, packing);
          }
        }
      },
    );

    it("gives zero blocks and missing rows zero integers", () => {
      check(side, new Float32Array(5 * 64), 5, 64, layout, {
        rotates: true,
        isStochastic: true,
      });
      const panel = pack(side, normals(64, 1), 1, 64, layout, {
        rotates: true,
        isStochastic: true,
      });
      for (let column = 0; column < 64; column++) {
        expect(readPanel(panel, side, 64, 1, column).integer).toBe(0);
      }
    });
  });
});

describe("two blocks of a group", () => {
  /** Scales of row 0's first two blocks, whose values are all 2^first and 2^second. */
  const scalesOf = (first: number, second: number, other = 0) => {
    const x = new Float32Array(4 * 64).fill(2 ** other);
    x.fill(2 ** first, 0, 32).fill(2 ** second, 32, 64);
    const packing = { rotates: false, isStochastic: false };
    const panel = pack("a", x, 4, 64, "rows", packing);
    return [0, 32].map((column) => readPanel(panel, "a", 64, 0, column).scale);
  };

  it("share a scale where they differ by one at most", () => {
    expect(scalesOf(5, 5)).toEqual([130, 130]);
    expect(scalesOf(5, 6)).toEqual([130, 130]);
    expect(scalesOf(6, 5)).toEqual([130, 130]);
    expect(scalesOf(5, 7)).toEqual([130, 132]);
  });

  it("a zero block takes the other's scale", () => {
    expect(scalesOf(-Infinity, 9)).toEqual([134, 134]);
    expect(scalesOf(9, -Infinity)).toEqual([134, 134]);
  });
});

describe("refusals", () => {
  it("say what was expected and what came", () => {
    const operand = { source: 64, rowStride: 1, kStride: 4 };
    const packing = { signs: 64 };
    expect(() => packMxfp4("a", operand, 4, 33, {})).toThrow(
      "Expected `k` to be a multiple of 32, got 33",
    );
    expect(() => packMxfp4("a", operand, 4, 96, packing)).toThrow(
      "Expected `k` to be a multiple of 64, got 96",
    );
    expect(() => packMxfp4("a", operand, 0, 64, {})).toThrow("Expected `rows`");
    expect(() =>
      packMxfp4("a", { ...operand, rowStride: 2 }, 4, 64, {}),
    ).toThrow("Expected one stride to be 1, got rows 2 and k 4 apart");
  });
});
