/**
 * The kernels of files, as the package has them: built without relaxed SIMD, from other source where that has
 * two forms. They write the bytes of the full build.
 */
import { join, resolve } from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import type { Pointer } from "../../src/kernels/arena.ts";
import { NEAREST_MODES, SCALE_RULES } from "../../src/api/scheme.ts";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import { ensureBuilt } from "../../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../../src/scripts/build/targets.ts";
import { normals, uniform } from "../support/random.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const KEY = noiseKey(7, PURPOSE.fileRounding, 0);
const SEGMENTS = [16, 32, 64, 128, 256] as const;

type Build = Awaited<ReturnType<typeof load>>;
let full: Build;
let files: Build;

beforeAll(async () => {
  await ensureBuilt(BUILD_TARGETS["kernels-files"]);
  full = await load(join(ROOT, "build/kernels.wasm"));
  files = await load(join(ROOT, "build/kernels-files.wasm"));
});

/** The library's modules anew, on this build: an isolate has one. */
async function load(path: string) {
  vi.resetModules();
  const { loadKernelsFile } = await import("../../src/kernels/load-file.ts");
  return {
    kernels: loadKernelsFile(path),
    mxfp4: await import("../support/mxfp4.ts"),
    q8: await import("../../src/kernels/q8.ts"),
    mxfp8: await import("../support/mxfp8.ts"),
    kernels4: await import("../../src/kernels/mxfp4.ts"),
    kernels8: await import("../../src/kernels/mxfp8.ts"),
    layers: await import("../support/layers.ts"),
    matmul: await import("../../src/kernels/matmul.ts"),
    vector: await import("../../src/kernels/vector.ts"),
    statistics: await import("../../src/kernels/statistics.ts"),
  };
}

/** Compares what both builds return. NaNs count as equal, of any bits; −0 is not 0. */
function same(run: (build: Build) => unknown): void {
  expect(run(files)).toEqual(run(full));
}

/** Whole blocks, so large that chunks and tails occur: any bits, ties of E2M1, subnormals, normals. */
function values(): Float32Array {
  const next = uniform(11);
  const length = 32 * 123;
  const bits = Uint32Array.from({ length }, () => next() * 2 ** 32);
  const ties = Float32Array.from({ length }, () => {
    const eighths = Math.floor(next() * 129) - 64;
    return eighths === 0 && next() < 0.5 ? -0 : eighths / 8;
  });
  const tiny = Float32Array.from(
    { length },
    () => (next() - 0.5) * 2 ** (-118 - Math.floor(next() * 30)),
  );
  const plain = normals(length, 5).map(
    (value, i) => value * 2 ** ((i >> 5) - 60),
  );
  return Float32Array.from([
    ...new Float32Array(bits.buffer),
    ...ties,
    ...tiny,
    ...plain,
  ]);
}

const VALUES = values();

/** What a kernel writes for `input`, `outBytes` an element. */
function convert(
  { kernels: { arena } }: Build,
  kernel: (out: Pointer, x: Pointer, length: number) => void,
  input: Float32Array | Float64Array | Uint16Array,
  outBytes: number,
): Uint8Array {
  return arena.scope(() => {
    const x = arena.copyIn(input);
    const out = arena.alloc(input.length * outBytes);
    kernel(out, x, input.length);
    return arena.u8(out, input.length * outBytes).slice();
  });
}

it("no kernel of files is left out here", () => {
  const kernelsOf = ({ kernels: { exports } }: Build) =>
    Object.entries(exports)
      .filter(([, value]) => typeof value === "function")
      .map(([name]) => name)
      .toSorted();
  expect(kernelsOf(full)).toContain("gemmMxfp4");
  expect(kernelsOf(files)).toEqual([
    "canonicalizeNaNF32",
    "centralMomentsF32",
    "compareF32",
    "countMxfp4",
    "countMxfp8",
    "decodeBf16",
    "decodeF16",
    "dequantizeMxfp4",
    "dequantizeMxfp8",
    "encodeBf16",
    "encodeF16",
    "expF32",
    "hadamardF32",
    "heapBase",
    "largestBitsF32",
    "largestByte",
    "narrowF64",
    "normalF32",
    "packGgmlMxfp4",
    "quantizeNearestMxfp4",
    "quantizeNearestMxfp8",
    "quantizeQ8",
    "quantizeStochasticMxfp4",
    "quantizeStochasticMxfp8",
    "signsF32",
    "transposeF32",
    "unpackGgmlMxfp4",
  ]);
});

describe.each(SCALE_RULES)("scale %s", (scale) => {
  describe.each([1, 0.75] as const)("prescale %s", (prescale) => {
    it.each(NEAREST_MODES)("%s", (mode) => {
      for (const minScale of [0, 1] as const) {
        const quantizer = { rounding: { mode }, scale, prescale, minScale };
        same(({ mxfp4 }) => mxfp4.quantize(VALUES, quantizer));
      }
    });

    it.skipIf(scale === "mse")("stochastic", () => {
      const rounding = {
        mode: "stochastic",
        key: KEY,
        firstElement: 2468,
      } as const;
      for (const minScale of [0, 1] as const) {
        const quantizer = { rounding, scale, prescale, minScale };
        same(({ mxfp4 }) => mxfp4.quantize(VALUES, quantizer));
      }
    });
  });
});

it("Q8_0", () => {
  same((build) =>
    convert(build, build.q8.quantizeQ8, VALUES, build.q8.Q8_BLOCK_BYTES / 32),
  );
});

it("decoding every code at every scale, and ggml's blocks of them", () => {
  const next = uniform(3);
  const scales = Uint8Array.from({ length: 256 * 4 }, (_, i) => i >> 2);
  const elements = Uint8Array.from(
    { length: scales.length * 16 },
    () => next() * 256,
  );
  for (const factor of [1, 4 / 3]) {
    same(({ mxfp4 }) => mxfp4.dequantize({ elements, scales }, factor));
  }
  same(({ kernels4, kernels: { arena } }) =>
    arena.scope(() => {
      const blocks = scales.length;
      const packed = arena.alloc(17 * blocks);
      const inputs = [arena.copyIn(elements), arena.copyIn(scales)] as const;
      kernels4.packGgml(packed, ...inputs, blocks);
      const back = arena.alloc(16 * blocks);
      const scalesBack = arena.alloc(blocks);
      kernels4.unpackGgml(back, scalesBack, packed, blocks);
      return [
        arena.u8(packed, 17 * blocks).slice(),
        arena.u8(back, 16 * blocks).slice(),
        arena.u8(scalesBack, blocks).slice(),
      ];
    }),
  );
});

describe.each(["e4m3", "e5m2"] as const)("MXFP8 of %s", (type) => {
  it.each(SCALE_RULES)("quantized, scale %s", (scale) => {
    for (const rounding of [
      { mode: "nearest-even" },
      { mode: "nearest-away" },
      { mode: "stochastic", key: KEY, firstElement: 2468 },
    ] as const) {
      if (scale === "mse" && rounding.mode === "stochastic") continue;
      same(({ kernels: { arena }, mxfp8, kernels8 }) => {
        const codes = mxfp8.quantize(VALUES, type, { rounding, scale });
        return arena.scope(() => {
          const x = arena.copyIn(VALUES);
          const elements = arena.copyIn(codes.elements);
          const scales = arena.copyIn(codes.scales);
          const { length } = VALUES;
          return [
            codes,
            kernels8.countMxfp8(x, elements, scales, length, type),
          ];
        });
      });
    }
  });

  it("decoded, every code at every scale", () => {
    const scales = Uint8Array.from({ length: 256 * 8 }, (_, i) => i >> 3);
    const elements = Uint8Array.from({ length: 256 * 256 }, (_, i) => i % 256);
    same(({ mxfp8 }) => mxfp8.dequantize({ elements, scales }, type));
  });
});

it.each(SEGMENTS)("rotation and its inverse, segments of %i", (length) => {
  const x = VALUES.subarray(0, VALUES.length - (VALUES.length % length));
  same(({ mxfp4 }) => {
    const signs = mxfp4.signs(length, KEY);
    const inverse = mxfp4.rotate(x, signs, "inverse");
    return [signs, mxfp4.rotate(x, signs), inverse];
  });
});

it("f16, bf16 and f64, to lengths that fill no vector", () => {
  const words = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const doubles = Float64Array.from(VALUES, (x, i) => x * (1 + i * 2 ** -40));
  for (const length of [65536, 1, 2, 3, 4, 5, 6, 7, 9]) {
    const x = VALUES.subarray(0, length);
    const bits = words.subarray(0, length);
    same((build) => {
      const { vector } = build;
      const decoded = [
        convert(build, vector.decodeF16, bits, 4),
        convert(build, vector.decodeBf16, bits, 4),
        convert(build, vector.narrowF64, doubles.subarray(0, length), 4),
      ];
      return [
        convert(build, vector.encodeF16, x, 2),
        convert(build, vector.encodeBf16, x, 2),
        ...decoded.map((bytes) => new Float32Array(bytes.buffer)),
      ];
    });
  }
});

it("draws", () => {
  same(({ kernels: { arena }, vector }) =>
    arena.scope(() => {
      const out = arena.allocF32(1003);
      vector.drawNormal(out, 1003, 0.5, KEY, 12);
      return arena.f32(out, 1003).slice();
    }),
  );
});

it("exponentials, and turned matrices", () => {
  same(({ kernels: { arena }, layers, matmul }) =>
    arena.scope(() => {
      const x = arena.copyIn(VALUES);
      const [rows, columns] = [7, Math.floor(VALUES.length / 7)];
      const turned = arena.allocF32(rows * columns);
      matmul.transpose(turned, x, rows, columns);
      layers.exp(x, x, VALUES.length);
      return [
        arena.u8(turned, 4 * rows * columns).slice(),
        arena.u8(x, 4 * VALUES.length).slice(),
      ];
    }),
  );
});

it("what analysis sums, and the one NaN", () => {
  const rounding = { mode: "nearest-even" } as const;
  const quantizer = { rounding, scale: "floor", prescale: 1 } as const;
  same(({ kernels: { arena }, kernels4, mxfp4, statistics, vector }) => {
    const { elements, scales } = mxfp4.quantize(VALUES, quantizer);
    return arena.scope(() => {
      const x = arena.copyIn(VALUES);
      const y = arena.copyIn(VALUES.toReversed());
      const codes = [arena.copyIn(elements), arena.copyIn(scales)] as const;
      const sums = [
        statistics.moments(x, VALUES.length),
        statistics.compare(x, y, VALUES.length),
        statistics.largestBits(x, VALUES.length),
        statistics.largestByte(codes[1], scales.length),
        kernels4.countMxfp4(x, ...codes, VALUES.length, 1),
      ];
      vector.canonicalizeNaN(x, VALUES.length);
      return [sums, arena.u8(x, 4 * VALUES.length).slice()];
    });
  });
});
