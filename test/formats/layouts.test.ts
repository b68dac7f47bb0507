/**
 * Every layout of blocks, as its own loader reads it. Each writer here puts codes and scales where the
 * loader's documentation says that they are, element by element, and shares nothing with ours.
 */
import "../support/kernels.ts";
import { describe, expect, test } from "vitest";
import type { FormatName, Layout } from "../../src/api/scheme.ts";
import type { Dtype } from "../../src/formats/dtype.ts";
import { decodeElement, decodeScale } from "../reference/mxfp4.ts";
import { decodeFloat8 } from "../reference/mxfp8.ts";
import { dequantizeFile, quantizeFile } from "../support/files.ts";
import {
  f32,
  fileInOrder,
  fileOf,
  floats,
  named,
} from "../http/tensor-support.ts";
import { normals, uniform } from "../support/random.ts";

/** A weight [2, 3, 64] as codes and scales, with every code and the scales' corners. */
const SHAPE = [2, 3, 64];
const GROUPS = 2;
type Blocks = { codes: number[]; scales: number[] };

function blocks(bits: 4 | 8): Blocks {
  const next = uniform(bits);
  const codes = Array.from({ length: 384 }, (_, i) =>
    i < 256 ? i % 2 ** bits : Math.floor(next() * 2 ** bits),
  );
  const scales = [0, 1, 100, 127, 130, 254, 255, 120, 126, 128, 127, 90];
  return { codes, scales };
}

type Part = { name: string; dtype: Dtype; shape: number[]; bytes: Uint8Array };

const part = (
  name: string,
  dtype: Dtype,
  shape: number[],
  bytes: ArrayLike<number>,
): Part => ({ name, dtype, shape, bytes: Uint8Array.from(bytes) });

/** Two codes a byte, the first in the low nibble. */
function nibbles(codes: readonly number[]): number[] {
  return Array.from(
    { length: codes.length / 2 },
    (_, i) => codes[2 * i]! + 16 * codes[2 * i + 1]!,
  );
}

/** Codes of `bits` in little-endian words of 32: code j of a word from bit j · bits on. */
function words(codes: readonly number[], bits: 4 | 8): Uint8Array {
  const perWord = 32 / bits;
  const out = new Uint32Array(codes.length / perWord);
  codes.forEach((code, i) => {
    const shifted = code * 2 ** (bits * (i % perWord));
    out[Math.floor(i / perWord)]! += shifted;
  });
  const view = new DataView(new ArrayBuffer(out.length * 4));
  out.forEach((word, i) => view.setUint32(4 * i, word, true));
  return new Uint8Array(view.buffer);
}

/** ggml's blocks: the scale, then byte j with element j low and j + 16 high. */
function ggmlBlocks({ codes, scales }: Blocks): number[] {
  return scales.flatMap((scale, b) => [
    scale,
    ...Array.from(
      { length: 16 },
      (_, j) => codes[32 * b + j]! + 16 * codes[32 * b + 16 + j]!,
    ),
  ]);
}

type Writer = {
  format: FormatName;
  /** The name that it decodes to. */
  name: string;
  /** Where ours writes it too. */
  layout?: Layout;
  write: (blocks: Blocks) => Part[];
};

const OUTER = SHAPE.slice(0, -1);

const WRITERS: Record<string, Writer> = {
  // transformers' Mxfp4HfQuantizer: [..., K/32, 16] and [..., K/32]
  "transformers' gpt-oss": {
    format: "mxfp4",
    name: "experts.gate_up_proj",
    layout: "gpt-oss",
    write: ({ codes, scales }) => [
      part(
        "experts.gate_up_proj_blocks",
        "U8",
        [...OUTER, GROUPS, 16],
        nibbles(codes),
      ),
      part("experts.gate_up_proj_scales", "U8", [...OUTER, GROUPS], scales),
    ],
  },
  "OpenAI's gpt-oss": {
    format: "mxfp4",
    name: "block.0.mlp.mlp1_weight",
    layout: "openai",
    write: ({ codes, scales }) => [
      part(
        "block.0.mlp.mlp1_weight.blocks",
        "U8",
        [...OUTER, GROUPS, 16],
        nibbles(codes),
      ),
      part("block.0.mlp.mlp1_weight.scales", "U8", [...OUTER, GROUPS], scales),
    ],
  },
  // compressed-tensors, mxfp4-pack-quantized
  "compressed-tensors' MXFP4": {
    format: "mxfp4",
    name: "up.weight",
    layout: "compressed-tensors",
    write: ({ codes, scales }) => [
      part("up.weight_packed", "U8", [...OUTER, 32], nibbles(codes)),
      part("up.weight_scale", "U8", [...OUTER, GROUPS], scales),
    ],
  },
  "compressed-tensors' MXFP4 with E8M0 scales": {
    format: "mxfp4",
    name: "up.weight",
    write: ({ codes, scales }) => [
      part("up.weight_packed", "U8", [...OUTER, 32], nibbles(codes)),
      part("up.weight_scale", "F8_E8M0", [...OUTER, GROUPS], scales),
    ],
  },
  ggml: {
    format: "mxfp4",
    name: "up.weight",
    layout: "ggml",
    write: (all) => [
      part("up.weight_ggml", "U8", [...OUTER, GROUPS, 17], ggmlBlocks(all)),
    ],
  },
  "Quark's": {
    format: "mxfp4",
    name: "up.weight",
    layout: "quark",
    write: ({ codes, scales }) => [
      part("up.weight", "U8", [...OUTER, 32], nibbles(codes)),
      part("up.weight_scale", "U8", [...OUTER, GROUPS], scales),
    ],
  },
  // mlx.core.quantize(mode="mxfp4")
  "MLX's MXFP4": {
    format: "mxfp4",
    name: "up.weight",
    layout: "mlx",
    write: ({ codes, scales }) => [
      part("up.weight", "U32", [...OUTER, 8], words(codes, 4)),
      part("up.scales", "U8", [...OUTER, GROUPS], scales),
    ],
  },
  "MLX's MXFP8": {
    format: "mxfp8-e4m3",
    name: "up.weight",
    layout: "mlx",
    write: ({ codes, scales }) => [
      part("up.weight", "U32", [...OUTER, 16], words(codes, 8)),
      part("up.scales", "U8", [...OUTER, GROUPS], scales),
    ],
  },
  "DeepSeek-V4's": {
    format: "mxfp4",
    name: "up.weight",
    layout: "deepseek",
    write: ({ codes, scales }) => [
      part("up.weight", "I8", [...OUTER, 32], nibbles(codes)),
      part("up.scale", "F8_E8M0", [...OUTER, GROUPS], scales),
    ],
  },
  // Of safetensors' F4: two a byte, the first low.
  "F4 with E8M0 scales": {
    format: "mxfp4",
    name: "up.weight",
    layout: "f4",
    write: ({ codes, scales }) => [
      part("up.weight", "F4", SHAPE, nibbles(codes)),
      part("up.weight_scale", "F8_E8M0", [...OUTER, GROUPS], scales),
    ],
  },
  // compressed-tensors, mxfp8-quantized
  "compressed-tensors' MXFP8": {
    format: "mxfp8-e4m3",
    name: "up.weight",
    layout: "compressed-tensors",
    write: ({ codes, scales }) => [
      part("up.weight", "F8_E4M3", SHAPE, codes),
      part("up.weight_scale", "U8", [...OUTER, GROUPS], scales),
    ],
  },
  "MXFP8 of E5M2": {
    format: "mxfp8-e5m2",
    name: "up.weight",
    layout: "compressed-tensors",
    write: ({ codes, scales }) => [
      part("up.weight", "F8_E5M2", SHAPE, codes),
      part("up.weight_scale", "U8", [...OUTER, GROUPS], scales),
    ],
  },
};

const bitsOf = (format: FormatName) => (format === "mxfp4" ? 4 : 8);

function valuesOf({ codes, scales }: Blocks, format: FormatName): number[] {
  const element = {
    mxfp4: decodeElement,
    "mxfp8-e4m3": (code: number) => decodeFloat8(code, "e4m3"),
    "mxfp8-e5m2": (code: number) => decodeFloat8(code, "e5m2"),
  }[format];
  return codes.map((code, i) =>
    Math.fround(element(code) * decodeScale(scales[i >> 5]!)),
  );
}

describe.each(Object.entries(WRITERS))("%s", (_, writer) => {
  const { format, name, layout, write } = writer;

  test("is read, in either order of its parts, beside other tensors", async () => {
    const all = blocks(bitsOf(format));
    const parts = write(all);
    const other = f32("norm.weight", [64], normals(64, 1));
    for (const order of [parts, parts.toReversed()]) {
      const { file } = await dequantizeFile(fileInOrder([...order, other]));
      expect(file.tensors.map((each) => each.name).toSorted()).toEqual(
        [name, "norm.weight"].toSorted(),
      );
      expect(named(file, name).shape).toEqual(SHAPE);
      expect(floats(file, name)).toEqual(valuesOf(all, format));
      expect(floats(file, "norm.weight")).toEqual([...normals(64, 1)]);
    }
  });

  test.runIf(layout)("is written where its loader finds it", async () => {
    // What a block holds exactly comes back as the codes that it was made of.
    const bits = bitsOf(format);
    const top = { mxfp4: 7, "mxfp8-e4m3": 0x7e, "mxfp8-e5m2": 0x7b }[format];
    const next = uniform(5);
    const codes = Array.from({ length: 384 }, (__, i) => {
      const sign = next() < 0.5 ? 0 : 2 ** (bits - 1);
      return sign + (i % 32 === 0 ? top : Math.floor(next() * (top + 1)));
    });
    const scales = Array.from({ length: 12 }, (__, i) => 120 + i);
    const all = { codes, scales };
    const body = fileOf([f32(name, SHAPE, valuesOf(all, format))]);
    const { file } = await quantizeFile(body, { format }, layout);
    expect(
      file.tensors.map((each) => ({ ...each, bytes: each.bytes.slice() })),
    ).toEqual(write(all));
    const back = await dequantizeFile(
      (await quantizeFile(body, { format }, layout)).bytes,
    );
    expect(floats(back.file, name)).toEqual(valuesOf(all, format));
  });
});

test("a layout that names weights only refuses others", async () => {
  const body = fileOf([f32("up.proj", [2, 32], normals(64, 1))]);
  await expect(quantizeFile(body, {}, "mlx")).rejects.toThrow(
    'Expected names that end in "weight" for layout mlx, got "up.proj"; `exclude` lets it pass through',
  );
});

test.each([
  ["affine integers of MLX", "U32", [2, 8], "up.scales", "F16", [2, 1]],
  ["INT8 of its own scales", "I8", [2, 64], "up.scale", "F32", [2, 1]],
] as const)(
  "%s are not taken for it",
  async (_, dtype, shape, other, scaleType, scaleShape) => {
    const bytes = (type: Dtype, sizes: readonly number[]) =>
      sizes.reduce((a, b) => a * b) *
      ({ U32: 4, F32: 4, F16: 2, BF16: 2 }[type as string] ?? 1);
    const parts = [
      part("up.weight", dtype, [...shape], new Uint8Array(bytes(dtype, shape))),
      part(
        other,
        scaleType,
        [...scaleShape],
        new Uint8Array(bytes(scaleType, scaleShape)),
      ),
    ];
    const refused = dequantizeFile(fileInOrder(parts));
    for (const { name } of parts)
      await expect(refused).rejects.toMatchObject({
        code: "nothing_to_convert",
        message: expect.stringContaining(`"${name}" (`),
      });
  },
);
