/** docs/compatibility.md: for each ecosystem the options that reproduce its bytes. */
import "../support/kernels.ts";
import { describe, expect, test } from "vitest";
import { SCHEME_PRESETS } from "../../src/api/presets.ts";
import type { Scheme } from "../../src/api/scheme.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import type { Layout } from "../../src/api/scheme.ts";
import { planDequantize } from "../../src/formats/operations/dequantize-file.ts";
import { f32, fileInOrder, floats, named, u8 } from "../http/tensor-support.ts";
import * as others from "../reference/ecosystems.ts";
import type { Block, Ecosystem } from "../reference/ecosystems.ts";
import { convert, dequantizeFile, quantizeFile } from "../support/files.ts";
import { ggufFile } from "../support/gguf-bytes.ts";
import { normals, uniform } from "../support/random.ts";

const f = Math.fround;

/** Ties and corners of PAPER's golden vector, in a block whose scale is 1 by the floor rule. */
const TIES = [
  0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 6, 7.99, 0.2, 0.3, 3, 0, 1e-30, 4.99,
  5.01,
];
/** Largest magnitudes around every rule's thresholds. */
const TOPS = [4, 5, 6, 7, 7.99, 8].flatMap((top) => [
  f(top * (1 - 2 ** -22)),
  top,
  f(top * (1 + 2 ** -22)),
]);

function block(values: readonly number[]): number[] {
  return Array.from({ length: 32 }, (_, i) => values[i] ?? 0);
}

const signed = TIES.flatMap((value) => [value, -value]);
/** Blocks of ties and signed zeros at many scales, thresholds of the scale rules, normal values. */
const NORMAL_RANGE: number[][] = [
  ...[-100, -3, 0, 1, 60, 110].map((exponent) =>
    signed.map((value) => f(value * 2 ** exponent)),
  ),
  ...TOPS.flatMap((top) =>
    [-90, -1, 0, 1, 7, 90].map((exponent) =>
      block([
        -top * 2 ** exponent,
        ...TIES.map((value) => (value * 2 ** exponent) / 2),
      ]),
    ),
  ),
  block([-0, 1, -1, -0.1, 0.1]),
  ...Array.from({ length: 64 }, (_, i) =>
    [...normals(32, i)].map((x) => f(x * 2 ** (i - 32))),
  ),
];
const ZERO = [block([]), block([-0, 0, -0])];
const TINY = [
  block([2 ** -149]),
  block([2 ** -126, -(2 ** -127)]),
  block([f(1.75 * 2 ** -126), 2 ** -130]),
  block([f(7 * 2 ** -127)]),
  block([2 ** -125]),
];
/** Where ggml's cast of the exponent to a byte is defined, and not below. */
const LEAST = [
  block([2 ** -125, f(1.4 * 2 ** -127)]),
  block([f(1.75 * 2 ** -125)]),
];
const HUGE = [
  block([2 ** 127, -3]),
  block([3.4028234663852886e38]),
  block([f(1.75 * 2 ** 127)]),
  block([f(1.5 * 2 ** 127)]),
];
const NON_FINITE = [block([NaN, 1]), block([1, Infinity]), block([-Infinity])];

type Case = {
  ecosystem: string;
  twin: Ecosystem;
  scheme: Partial<Scheme>;
  /** Corners that its source defines, beside the normal range. */
  corners: number[][];
};

const CASES: Case[] = [
  {
    ecosystem: "OCP MX v1.0",
    twin: others.ocp,
    scheme: SCHEME_PRESETS.ocp,
    corners: HUGE,
  },
  {
    ecosystem: "microxcaling nearest",
    twin: others.microxcaling("nearest"),
    scheme: SCHEME_PRESETS.microxcaling,
    corners: [...ZERO, ...TINY, ...HUGE, ...NON_FINITE],
  },
  {
    ecosystem: "microxcaling even",
    twin: others.microxcaling("even"),
    scheme: SCHEME_PRESETS.ocp,
    corners: [...ZERO, ...TINY, ...HUGE, ...NON_FINITE],
  },
  {
    ecosystem: "ggml",
    twin: others.ggml,
    scheme: SCHEME_PRESETS.ggml,
    corners: [...ZERO, ...LEAST, ...HUGE],
  },
  {
    ecosystem: "triton_kernels ROUND_UP",
    twin: others.tritonRoundUp,
    scheme: SCHEME_PRESETS["gpt-oss"],
    corners: [...ZERO, ...HUGE],
  },
  {
    ecosystem: "triton_kernels ROUND_DOWN",
    twin: others.tritonRoundDown,
    scheme: SCHEME_PRESETS.ocp,
    corners: [...ZERO, ...HUGE],
  },
  ...(
    [
      ["FLOOR", { scale: "floor" }],
      ["RCEIL", { scale: "rceil" }],
      ["CEIL", SCHEME_PRESETS["torchao-ceil"]],
      ["EVEN", { scale: "even" }],
    ] as const
  ).map(([mode, scheme]) => ({
    ecosystem: `torchao ${mode}`,
    twin: others.torchao(mode),
    scheme,
    corners: [...ZERO, ...TINY, ...HUGE, ...NON_FINITE],
  })),
  {
    ecosystem: "compressed-tensors",
    twin: others.compressedTensors,
    scheme: SCHEME_PRESETS["compressed-tensors"],
    corners: HUGE,
  },
  {
    ecosystem: "AMD",
    twin: others.amd,
    scheme: SCHEME_PRESETS.amd,
    corners: [...ZERO, ...TINY, ...HUGE],
  },
  {
    ecosystem: "TetraJet",
    twin: others.tetraJet,
    scheme: { scale: "rceil" },
    corners: HUGE,
  },
];

/** Codes of elements and scale bytes, read from a layout by its definition. */
async function quantized(
  blocks: readonly number[][],
  scheme: Partial<Scheme>,
  layout: Layout = "gpt-oss",
): Promise<Block[]> {
  const input = fileInOrder([f32("x", [blocks.length, 32], blocks.flat())]);
  const { file } = await quantizeFile(input, scheme, layout);
  if (layout === "ggml") {
    const { bytes } = named(file, "x_ggml");
    return blocks.map((_, b) => ({
      scale: bytes[b * 17]!,
      codes: Array.from({ length: 32 }, (_, i) => {
        const byte = bytes[b * 17 + 1 + (i % 16)]!;
        return i < 16 ? byte & 15 : byte >> 4;
      }),
    }));
  }
  const [elements, scales] =
    layout === "gpt-oss" ? ["x_blocks", "x_scales"] : ["x_packed", "x_scale"];
  const { bytes } = named(file, elements);
  return blocks.map((_, b) => ({
    scale: named(file, scales).bytes[b]!,
    codes: Array.from({ length: 32 }, (_, i) => {
      const byte = bytes[b * 16 + (i >> 1)]!;
      return i % 2 === 0 ? byte & 15 : byte >> 4;
    }),
  }));
}

describe.each(CASES)("$ecosystem", ({ twin, scheme, corners }) => {
  test("ties, thresholds and normal values have its scales and codes", async () => {
    const expected = NORMAL_RANGE.map((values) =>
      twin(Float32Array.from(values)),
    );
    expect(await quantized(NORMAL_RANGE, scheme)).toEqual(expected);
  });

  test("so have the corners that it defines", async () => {
    const expected = corners.map((values) => twin(Float32Array.from(values)));
    expect(await quantized(corners, scheme)).toEqual(expected);
  });
});

test("below 2^−124 triton's bytes are its own, and only there", async () => {
  const pairs = async (
    twin: Ecosystem,
    scheme: Partial<Scheme>,
    amax: number,
  ) => {
    const values = block([amax, -amax / 2]);
    const [ours] = await quantized([values], scheme);
    return [twin(Float32Array.from(values)), ours!] as const;
  };
  const next = 1 + 2 ** -23;

  const up = (amax: number) =>
    pairs(others.tritonRoundUp, SCHEME_PRESETS["gpt-oss"], amax);
  for (const amax of [2 ** -147, 2 ** -126, 3 * 2 ** -126]) {
    const [theirs, ours] = await up(amax);
    expect([theirs.scale, ours.scale]).toEqual([1, 0]);
  }
  const [theirs, ours] = await up(3 * 2 ** -126 * next);
  expect(ours).toEqual(theirs);

  const down = (amax: number) =>
    pairs(others.tritonRoundDown, SCHEME_PRESETS.ocp, amax);
  for (const amax of [2 ** -126, f(2 ** -124 * (1 - 2 ** -24))]) {
    const [zeroed, kept] = await down(amax);
    expect(zeroed.scale).toBe(0);
    expect(zeroed.codes.map((code) => code & 7)).toEqual(Array(32).fill(0));
    expect(kept.scale).toBe(0);
    expect(kept.codes[0]).toBeGreaterThan(0);
  }
  const [least, same] = await down(2 ** -124);
  expect(same).toEqual(least);
});

test.each([
  {
    ecosystem: "Algorithm 2",
    choices: others.paper,
    scheme: { ...SCHEME_PRESETS.paper, hadamard: 0, scale: "floor" },
    corners: [...ZERO, ...TINY, ...HUGE, ...NON_FINITE],
  },
  {
    ecosystem: "TetraJet, stochastic",
    choices: others.tetraJetStochastic,
    scheme: { rounding: "stochastic", scale: "rceil" },
    corners: HUGE,
  },
] as const)(
  "$ecosystem: the scales are its, and each code one of the two that it may draw",
  async ({ choices, scheme, corners }) => {
    const blocks = [...NORMAL_RANGE, ...corners];
    const expected = blocks.map((values) => choices(Float32Array.from(values)));
    const wrong: string[] = [];
    let [open, both] = [0, 0];
    const drawn = expected.map(({ codes }) => codes.map(() => new Set()));
    for (let seed = 0; seed < 16; seed++) {
      const got = await quantized(blocks, { ...scheme, seed });
      expect(got.map(({ scale }) => scale)).toEqual(
        expected.map(({ scale }) => scale),
      );
      got.forEach(({ codes }, b) =>
        codes.forEach((code, i) => {
          if (!expected[b]!.codes[i]!.includes(code))
            wrong.push(`${blocks[b]![i]} became ${code}`);
          drawn[b]![i]!.add(code);
        }),
      );
    }
    expect(wrong).toEqual([]);
    for (const [b, sets] of drawn.entries()) {
      for (const [i, { size }] of sets.entries()) {
        if (expected[b]!.codes[i]!.length === 1) continue;
        open++;
        if (size === 2) both++;
      }
    }
    // Values close to a code are hardly ever drawn away from it.
    expect(both / open).toBeGreaterThan(0.5);
  },
);

test("no two presets agree everywhere, but those that say the same", async () => {
  const bytes = new Map<string, string[]>();
  for (const [name, scheme] of Object.entries(SCHEME_PRESETS)) {
    const blocks = await quantized([...NORMAL_RANGE, ...ZERO], {
      ...DEFAULT_SCHEME,
      ...scheme,
    });
    const text = JSON.stringify(blocks);
    bytes.set(text, [...(bytes.get(text) ?? []), name]);
  }
  expect([...bytes.values()].filter((names) => names.length > 1)).toEqual([]);
});

test("the golden ties become what the table says", async () => {
  const rows = {
    "nearest-even": [0, 1, 1, 2, 2, 4, 4],
    "nearest-away": [0.5, 1, 1.5, 2, 3, 4, 6],
    "nearest-zero": [0, 0.5, 1, 1.5, 2, 3, 4],
  } as const;
  const values = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  for (const [rounding, row] of Object.entries(rows)) {
    const [got] = await quantized([signed], {
      rounding: rounding as keyof typeof rows,
      scale: "floor",
    });
    expect(row.map((_, i) => values[got!.codes[2 * i]!])).toEqual(row);
  }
});

test("every layout holds the same codes and scales", async () => {
  const next = uniform(1);
  const blocks = Array.from({ length: 40 }, () =>
    Array.from({ length: 32 }, () => f((next() - 0.5) * 16)),
  );
  const plain = await quantized(blocks, {});
  expect(await quantized(blocks, {}, "ggml")).toEqual(plain);
  expect(await quantized(blocks, {}, "compressed-tensors")).toEqual(plain);
});

test("gpt-oss blocks become ggml's by llama.cpp's transform_nibble_layout", async () => {
  const blocks = Array.from({ length: 20 }, (_, i) => [...normals(32, i)]);
  const input = fileInOrder([f32("x", [20, 32], blocks.flat())]);
  const source = named((await quantizeFile(input, {})).file, "x_blocks").bytes;
  const target = named(
    (await quantizeFile(input, {}, "ggml")).file,
    "x_ggml",
  ).bytes;
  const nibble = (byte: number, k: number) =>
    k % 2 === 0 ? source[byte + (k >> 1)]! & 15 : source[byte + (k >> 1)]! >> 4;
  for (let b = 0; b < 20; b++) {
    for (let j = 0; j < 16; j++) {
      const expected = nibble(b * 16, j) | (nibble(b * 16, j + 16) << 4);
      expect(target[b * 17 + 1 + j]).toBe(expected);
    }
  }
});

describe("every scale byte and code decodes to its value", () => {
  const MAGNITUDES = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  const value = (scale: number, code: number) =>
    scale === 255
      ? NaN
      : f((code > 7 ? -1 : 1) * MAGNITUDES[code & 7]! * 2 ** (scale - 127));
  const SCALES = Array.from({ length: 256 }, (_, scale) => scale);
  /** Each code twice a block: element i has code i mod 16. */
  const VALUES = SCALES.flatMap((scale) =>
    Array.from({ length: 32 }, (_, i) => value(scale, i % 16)),
  );
  /** Element 2j in the low nibble of byte j. */
  const PAIRED = Array.from(
    { length: 16 },
    (_, j) => ((2 * j) % 16) | (((2 * j + 1) % 16) << 4),
  );

  test.each([
    ["transformers", "x_blocks", [256, 1, 16], "x_scales"],
    ["OpenAI", "x.blocks", [256, 1, 16], "x.scales"],
    ["compressed-tensors", "x_packed", [256, 16], "x_scale"],
  ] as const)("%s: %s", async (_, elements, shape, scales) => {
    const file = fileInOrder([
      u8(
        elements,
        [...shape],
        SCALES.flatMap(() => PAIRED),
      ),
      u8(scales, [256, 1], SCALES),
    ]);
    for (const dtype of ["F32", "BF16"] as const) {
      const decoded = await dequantizeFile(file, dtype);
      expect(named(decoded.file, "x").shape).toEqual([256, 32]);
      expect(floats(decoded.file, "x")).toEqual(VALUES);
    }
  });

  test("ggml: type 39 of a GGUF", async () => {
    // Elements j and j + 16 share byte j, and have one code here.
    const bytes = SCALES.flatMap((scale) => [
      scale,
      ...Array.from({ length: 16 }, (_, j) => j | (j << 4)),
    ]);
    const file = ggufFile([
      {
        name: "x",
        dimensions: [32, 256],
        type: 39,
        bytes: Uint8Array.from(bytes),
      },
    ]);
    const decoded = await convert(file, (input) =>
      planDequantize(input, "F32"),
    );
    const data = decoded.slice(decoded.length - 4 * VALUES.length);
    expect([...new Float32Array(data.buffer)]).toEqual(VALUES);
  });
});
