/**
 * Kernels write what is theirs and read no further: with a guard behind every buffer, with each buffer in turn
 * flush with the end of memory, where one byte further traps, and whatever the buffers held before.
 */
import { arena } from "../support/kernels.ts";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  int6PanelBytes,
  matmulInt6,
  packInt6,
} from "../../src/kernels/int6-matmul.ts";
import * as decode from "../../src/kernels/decode.ts";
import * as layers from "../support/layers.ts";
import { byColumns, byRows } from "../../src/kernels/matmul.ts";
import {
  matmulMxfp4,
  packMxfp4,
  mxfp4PanelBytes,
} from "../../src/kernels/mxfp4-matmul.ts";
import { NEAREST_MODES, SEGMENT_LENGTHS } from "../../src/api/scheme.ts";
import {
  packGgml,
  type Quantizer,
  unpackGgml,
} from "../../src/kernels/mxfp4.ts";
import { countMxfp8, FLOAT8_TYPES } from "../../src/kernels/mxfp8.ts";
import { largestBits, largestByte } from "../../src/kernels/statistics.ts";
import { Q8_BLOCK_BYTES, quantizeQ8 } from "../../src/kernels/q8.ts";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import * as vector from "../../src/kernels/vector.ts";
import {
  dequantize,
  dequantizeEden,
  quantize,
  quantizeEden,
  rotate,
  signs,
} from "../support/mxfp4.ts";
import * as mxfp8 from "../support/mxfp8.ts";
import { normals } from "../support/random.ts";

const KEY = noiseKey(7, PURPOSE.fileRounding, 0);
const GUARD_BYTES = 64;
/** More than any case here takes. */
const ROOM_BYTES = 1 << 20;

afterEach(() => void vi.restoreAllMocks());

/** Runs `body` with `alloc` for the arena's own; gives back what it returned. */
function withAlloc<T>(
  alloc: (own: (bytes: number) => number, bytes: number) => number,
  body: () => T,
): T {
  const own = arena.alloc.bind(arena);
  const spy = vi
    .spyOn(arena, "alloc")
    .mockImplementation((bytes) => alloc(own, bytes));
  try {
    return body();
  } finally {
    spy.mockRestore();
  }
}

type Guard = { at: number; bytes: number; byte: number };

function checkGuards(guards: Guard[]): void {
  for (const { at, bytes, byte } of guards) {
    const broken = arena.u8(at, bytes).findIndex((found) => found !== byte);
    if (broken >= 0) expect.fail(`Byte ${broken} behind a buffer was written`);
  }
}

/** All memory that `body` takes holds `fill` at first, and a guard lies behind each buffer. */
function guarded<T>(fill: number, body: () => T): { result: T; count: number } {
  let guards: Guard[] = [];
  let count = 0;
  const byte = fill ^ 0x5a;
  const result = withAlloc((own, wanted) => {
    const pointer = own(wanted + GUARD_BYTES);
    // Guards from here on are those of scopes that have ended.
    checkGuards(guards);
    guards = guards.filter(({ at }) => at < pointer);
    const at = pointer + wanted;
    const bytes = own(0) - at; // with what rounding up left over
    arena.u8(pointer, wanted).fill(fill);
    arena.u8(at, bytes).fill(byte);
    guards.push({ at, bytes, byte });
    count++;
    return pointer;
  }, body);
  checkGuards(guards);
  return { result, count };
}

/** Buffer `index` of those that `body` takes ends where memory ends. */
function atEnd<T>(index: number, body: () => T): T {
  arena.scope(() => arena.alloc(ROOM_BYTES));
  const end = arena.memory.buffer.byteLength;
  let count = 0;
  return withAlloc(
    (own, bytes) => (count++ === index ? end - bytes : own(bytes)),
    body,
  );
}

function staysInside(body: () => unknown): void {
  const { result, count } = guarded(0, body);
  expect(guarded(0xff, body).result).toEqual(result);
  for (let index = 0; index < count; index++) {
    expect(atEnd(index, body)).toEqual(result);
  }
}

/** Normals, the second block's with a NaN, the third all zeros. */
function blocks(count: number): Float32Array {
  const x = normals(32 * count, count);
  if (count > 1) x[40] = NaN;
  return x.fill(0, 64, 96);
}

describe("quantizing", () => {
  const roundings: Quantizer["rounding"][] = [
    ...NEAREST_MODES.map((mode) => ({ mode })),
    { mode: "stochastic", key: KEY, firstElement: 0 },
  ];
  it.each(roundings)("$mode", (rounding) => {
    for (const count of [1, 2, 3, 4, 5, 16, 17, 35]) {
      const x = blocks(count);
      const scale = rounding.mode === "stochastic" ? "floor" : "mse";
      staysInside(() => quantize(x, { rounding, scale, prescale: 1 }));
    }
  });

  it.each(FLOAT8_TYPES)("MXFP8 of %s, and back", (type) => {
    for (const count of [1, 2, 3, 4, 5, 16, 17, 35]) {
      const x = blocks(count);
      for (const rounding of [
        { mode: "nearest-even" },
        { mode: "nearest-away" },
        { mode: "stochastic", key: KEY, firstElement: 0 },
      ] as const) {
        const scale = rounding.mode === "stochastic" ? "floor" : "mse";
        const quantizer = { rounding, scale } as const;
        staysInside(() => mxfp8.quantize(x, type, quantizer));
      }
      const elements = Uint8Array.from({ length: 32 * count }, (_, i) => i * 7);
      const scales = new Uint8Array(count).fill(130);
      staysInside(() => mxfp8.dequantize({ elements, scales }, type));
      staysInside(() =>
        arena.scope(() => {
          const codes = [arena.copyIn(elements), arena.copyIn(scales)] as const;
          return countMxfp8(arena.copyIn(x), ...codes, x.length, type);
        }),
      );
    }
  });

  it("with a factor for each segment, and back", () => {
    for (const count of [2, 4, 16, 18]) {
      const x = blocks(count);
      staysInside(() => quantizeEden(x, KEY, 0));
      const eden = quantizeEden(x, KEY, 0);
      staysInside(() => dequantizeEden(eden));
    }
  });

  it("back, and ggml's blocks", () => {
    for (const count of [1, 3, 4]) {
      const elements = Uint8Array.from({ length: 16 * count }, (_, i) => i * 7);
      const scales = Uint8Array.of(0, 255, 100, 130).subarray(0, count);
      staysInside(() => dequantize({ elements, scales }, 4 / 3));
      staysInside(() =>
        arena.scope(() => {
          const packed = arena.alloc(17 * count);
          const inputs = [arena.copyIn(elements), arena.copyIn(scales)];
          packGgml(packed, inputs[0]!, inputs[1]!, count);
          const outputs = [arena.alloc(16 * count), arena.alloc(count)];
          unpackGgml(outputs[0]!, outputs[1]!, packed, count);
          return [
            arena.u8(packed, 17 * count).slice(),
            arena.u8(outputs[0]!, 16 * count).slice(),
            arena.u8(outputs[1]!, count).slice(),
          ];
        }),
      );
    }
  });
});

it("the largest magnitude and byte", () => {
  for (const length of [1, 2, 15, 16, 17, 33]) {
    const x = normals(length, length);
    staysInside(() => arena.scope(() => largestBits(arena.copyIn(x), length)));
    const bytes = Uint8Array.from(x, (value) => value * 50);
    staysInside(() =>
      arena.scope(() => largestByte(arena.copyIn(bytes), length)),
    );
  }
});

it("quantizing to Q8_0", () => {
  for (const blocks of [1, 2, 3, 17]) {
    const x = normals(32 * blocks, blocks);
    x[5] = blocks === 3 ? NaN : 1;
    staysInside(() =>
      arena.scope(() => {
        const out = arena.alloc(Q8_BLOCK_BYTES * blocks);
        quantizeQ8(out, arena.copyIn(x), x.length);
        return [arena.u8(out, Q8_BLOCK_BYTES * blocks).slice()];
      }),
    );
  }
});

it.each(SEGMENT_LENGTHS)("rotating segments of %i", (length) => {
  const x = normals(3 * length, 1);
  staysInside(() => rotate(x, signs(length, KEY)));
  staysInside(() => rotate(x, signs(length, KEY), "inverse"));
});

describe("converting, to lengths that fill no vector", () => {
  const stochastic = (out: number, x: number, length: number) =>
    vector.encodeBf16Stochastic(out, x, length, KEY, 0);
  it.each([
    ["encodeBf16", vector.encodeBf16, Float32Array, 2],
    ["encodeBf16Stochastic", stochastic, Float32Array, 2],
    ["decodeBf16", vector.decodeBf16, Uint16Array, 4],
    ["encodeF16", vector.encodeF16, Float32Array, 2],
    ["decodeF16", vector.decodeF16, Uint16Array, 4],
    ["narrowF64", vector.narrowF64, Float64Array, 4],
  ] as const)("%s", (_, kernel, Input, outBytes) => {
    for (let length = 1; length < 19; length++) {
      const input = new Input(length).map((__, i) => 3 * i + 1);
      staysInside(() =>
        arena.scope(() => {
          const x = arena.copyIn(input);
          const out = arena.alloc(outBytes * length);
          kernel(out, x, length);
          return arena.u8(out, outBytes * length).slice();
        }),
      );
    }
  });
});

const LAYOUTS = ["rows", "columns"] as const;
type Layout = (typeof LAYOUTS)[number];

/** An operand of `rows` rows of k normals. */
function operand(layout: Layout, rows: number, k: number) {
  const source = arena.copyIn(normals(rows * k, rows));
  return layout === "rows" ? byRows(source, k) : byColumns(source, rows);
}

describe.each(LAYOUTS)("products of operands by %s", (layout) => {
  it.each([
    { rotates: false, rounds: false },
    { rotates: true, rounds: false },
    { rotates: false, rounds: true },
    { rotates: true, rounds: true },
  ])("MXFP4 panels: %o", ({ rotates, rounds }) => {
    for (const side of ["a", "b"] as const) {
      for (const rows of [3, 8, 22]) {
        for (const k of rotates ? [128] : [32, 96]) {
          staysInside(() =>
            arena.scope(() => {
              const panel = packMxfp4(side, operand(layout, rows, k), rows, k, {
                signs: rotates ? arena.copyIn(signs(64, KEY)) : undefined,
                rounding: rounds ? KEY : undefined,
              });
              const bytes = arena
                .u8(panel, mxfp4PanelBytes(side, rows, k))
                .slice();
              return bytes.fill(0, 32, 64); // the header's unused half
            }),
          );
        }
      }
    }
  });

  it("int6 panels", () => {
    for (const side of ["a", "b"] as const) {
      for (const rows of [3, 8, 22]) {
        for (const k of [128]) {
          staysInside(() =>
            arena.scope(() => {
              const panel = packInt6(side, operand(layout, rows, k), rows, k);
              return arena.u8(panel, int6PanelBytes(side, rows, k)).slice();
            }),
          );
        }
      }
    }
  });

  it.each(["accumulating", "pairwise"] as const)("%s", (form) => {
    for (const m of [1, 4, 5]) {
      for (const n of [1, 3, 6, 8, 11, 16]) {
        staysInside(() =>
          arena.scope(() => {
            const a = packMxfp4("a", operand(layout, m, 96), m, 96, {});
            const b = packMxfp4("b", operand(layout, n, 96), n, 96, {});
            const out = arena.allocF32(m * n);
            matmulMxfp4(out, a, b, m, n, 96, 1, form);
            return arena.f32(out, m * n).slice();
          }),
        );
        if (n % 8 !== 0) continue;
        staysInside(() =>
          arena.scope(() => {
            const a = packInt6("a", operand(layout, m, 128), m, 128);
            const b = packInt6("b", operand(layout, n, 128), n, 128);
            const out = arena.allocF32(m * n);
            const bias = arena.copyIn(normals(n, 9));
            matmulInt6(out, a, b, bias, m, n, 128, form);
            return arena.f32(out, m * n).slice();
          }),
        );
      }
    }
  });
});

describe("writing text", () => {
  it.each(decode.WEIGHT_FORMATS)(
    "panels of %s, and products of them",
    (format) => {
      const columns = 64;
      for (const rows of [1, 5, 8]) {
        for (const tokens of [1, 3]) {
          staysInside(() =>
            arena.scope(() => {
              const panel = arena.alloc(
                decode.decodePanelBytes(format, columns),
              );
              if (format === "f32") {
                const source = arena.copyIn(normals(rows * columns, 1));
                decode.packPanelF32(panel, source, rows, columns, columns, 1);
              } else {
                const codes = new Uint8Array((rows * columns) / 2).map(
                  (_, i) => i * 7,
                );
                const scales = new Uint8Array((rows * columns) / 32).fill(125);
                const [at, scalesAt] = [
                  arena.copyIn(codes),
                  arena.copyIn(scales),
                ];
                decode.packPanelMxfp4(
                  panel,
                  0,
                  at,
                  scalesAt,
                  rows,
                  columns / 32,
                );
              }
              const x = arena.copyIn(normals(tokens * columns, 2));
              const factor = decode.factorOf(format, x, tokens, columns);
              const out = arena.allocF32(tokens * rows);
              decode.multiplyDecodePanels(
                format,
                out,
                rows,
                panel,
                factor,
                rows,
                columns,
                tokens,
              );
              const row = arena.allocF32(columns);
              decode.panelRow(format, row, panel, rows - 1, columns);
              return [
                arena.f32(out, tokens * rows).slice(),
                arena.f32(row, columns).slice(),
              ];
            }),
          );
        }
      }
    },
  );

  it("attention over a cache", () => {
    for (const headWidth of [1, 4, 7]) {
      const shape = { heads: 4, groups: 2, headWidth };
      const [first, tokens, width] = [2, 3, 4 * headWidth];
      staysInside(() =>
        arena.scope(() => {
          const out = arena.allocF32(tokens * width);
          const q = arena.copyIn(normals(tokens * width, 1));
          const cached = (first + tokens) * 2 * headWidth;
          const cache = {
            keys: arena.copyIn(normals(cached, 2)),
            values: arena.copyIn(normals(cached, 3)),
          };
          decode.attend(out, q, width, cache, first, tokens, shape);
          return arena.f32(out, tokens * width).slice();
        }),
      );
    }
  });

  it("what lies between products", () => {
    for (let length = 1; length < 11; length++) {
      staysInside(() =>
        arena.scope(() => {
          const [a, b] = [2, 3].map((seed) =>
            arena.copyIn(normals(length, seed)),
          );
          const outs = Array.from({ length: 5 }, () => arena.allocF32(length));
          decode.sum(outs[0]!, a!, b!, length);
          decode.geluTanh(outs[1]!, a!, length);
          decode.swiglu(outs[2]!, a!, b!, length);
          decode.rmsNorm(outs[3]!, a!, b!, 1, length, 1e-5);
          decode.layerNorm(outs[4]!, a!, b!, b!, 1, length);
          return outs.map((out) => arena.f32(out, length).slice());
        }),
      );
    }
    for (const headWidth of [2, 6]) {
      staysInside(() =>
        arena.scope(() => {
          const x = arena.copyIn(normals(2 * headWidth, 1));
          const half = headWidth / 2;
          const cosines = arena.copyIn(normals(half, 2));
          const sines = arena.copyIn(normals(half, 3));
          decode.rotary(x, { cosines, sines }, 1, 2, headWidth, 2 * headWidth);
          return arena.f32(x, 2 * headWidth).slice();
        }),
      );
    }
  });
});

describe("layers of a Llama", () => {
  const [rows, epsilon] = [3, 1e-5];

  it("RMSNorm, of rows side by side and apart", () => {
    for (const width of [1, 3, 4, 7, 16]) {
      for (const stride of [width, width + 5]) {
        // The last row ends where its width does.
        const length = (rows - 1) * stride + width;
        staysInside(() =>
          arena.scope(() => {
            const x = arena.copyIn(normals(length, 1));
            const weight = arena.copyIn(normals(width, 2));
            const out = arena.copyIn(normals(length, 3));
            const rstd = arena.allocF32(rows);
            const dX = arena.copyIn(normals(length, 4));
            const dWeight = arena.copyIn(normals(width, 5));
            layers.rmsNormForward(
              out,
              rstd,
              x,
              weight,
              rows,
              width,
              epsilon,
              stride,
            );
            layers.rmsNormBackward(
              dX,
              dWeight,
              out,
              x,
              rstd,
              weight,
              rows,
              width,
              stride,
            );
            return [out, dX].map((at) => arena.f32(at, length).slice());
          }),
        );
      }
    }
  });

  it("rotary positions", () => {
    const shape = { sequences: 2, length: 3 };
    for (const headWidth of [2, 6, 8]) {
      const stride = 2 * headWidth + 1;
      const length = 5 * stride + 2 * headWidth;
      staysInside(() =>
        arena.scope(() => {
          const x = arena.copyIn(normals(length, 1));
          const [cosines, sines] = [1, 2].map((seed) =>
            arena.copyIn(normals((3 * headWidth) / 2, seed)),
          ) as [number, number];
          const angles = { cosines, sines };
          layers.rotaryForward(x, angles, shape, 2, headWidth, stride);
          const turned = arena.f32(x, length).slice();
          layers.rotaryBackward(x, angles, shape, 2, headWidth, stride);
          return [turned, arena.f32(x, length).slice()];
        }),
      );
    }
  });

  it("SwiGLU", () => {
    for (const width of [1, 4, 7, 16]) {
      const length = (rows - 1) * 2 * width + width;
      staysInside(() =>
        arena.scope(() => {
          const [gate, up, dGate, dUp] = [1, 2, 3, 4].map((seed) =>
            arena.copyIn(normals(length, seed)),
          ) as [number, number, number, number];
          const out = arena.allocF32(rows * width);
          layers.swigluForward(out, gate, up, rows, width, 2 * width);
          layers.swigluBackward(
            dGate,
            dUp,
            out,
            gate,
            up,
            rows,
            width,
            2 * width,
          );
          return [dGate, dUp].map((at) => arena.f32(at, length).slice());
        }),
      );
    }
  });

  it("attention of groups", () => {
    const shape = { sequences: 2, length: 9 };
    for (const [heads, groups, headWidth] of [
      [4, 2, 3],
      [2, 1, 8],
    ] as const) {
      const cut = { heads, groups, headWidth };
      const [wide, narrow] = [heads + 2 * groups, heads].map(
        (count) => 18 * count * headWidth,
      ) as [number, number];
      staysInside(() =>
        arena.scope(() => {
          const qkv = arena.copyIn(normals(wide, 1));
          const out = arena.allocF32(narrow);
          const totals = arena.allocF32(18 * heads);
          const dQkv = arena.allocF32(wide);
          layers.attentionForward(out, totals, qkv, shape, cut);
          layers.attentionBackward(dQkv, out, qkv, totals, shape, cut);
          return arena.f32(dQkv, wide).slice();
        }),
      );
    }
  });
});
