/** Quantizes floats in memory to blocks and scales, and back, as a raw file with one tensor. */
import { AppError } from "../api/errors.ts";
import { invalidOption, shown } from "../api/option-kinds.ts";
import { checkOptions } from "../api/check-options.ts";
import { FLOATS_OPTIONS } from "../api/options.ts";
import type { FloatsOptions, QuantizedFloats } from "../api/tensors.ts";
import { writeHead } from "../formats/containers/safetensors-writer.ts";
import { layoutOf, packedHeads } from "../formats/blocks/block-layouts.ts";
import { rowsOf } from "../formats/blocks/block-rows.ts";
import {
  isRecorded,
  readScheme,
} from "../formats/blocks/quantization-record.ts";
import { DEFAULT_SCHEME, schemeOf } from "../formats/blocks/scheme.ts";
import type { Dtype } from "../formats/dtype.ts";
import { elementCount, type TensorHead } from "../formats/tensor.ts";
import { BLOCK_SIZE } from "../kernels/mx.ts";
import { convert } from "./convert.ts";
import { readHead } from "./head.ts";

type Load = () => Promise<unknown>;

/** Errors: `invalid_option`, `shape_mismatch` */
export async function packFloats(
  values: Float32Array,
  options: FloatsOptions,
  load: Load,
): Promise<QuantizedFloats> {
  if (!(values instanceof Float32Array))
    throw invalidOption("a Float32Array", shown(values));
  const {
    shape = [values.length],
    nonfinite,
    ...told
  } = checkOptions(FLOATS_OPTIONS, options);
  const scheme = schemeOf(told);
  const { name: layout } = layoutOf("safetensors", scheme.format);
  const raw = { dtype: "f32", shape } as const;
  const file = await bytesOf(
    convert("quantize", values, { ...scheme, layout, nonfinite, raw }, load),
  );
  const { tensors, metadata } = await readHead(new Blob([file]));
  const [blocks, scales] = tensors.map(({ start, end }) =>
    file.slice(start, end),
  );
  return { blocks: blocks!, scales: scales!, shape, metadata };
}

/** Errors: `invalid_option`, `malformed_body`, `shape_mismatch` if blocks and scales do not fit `shape` */
export async function unpack(
  packed: QuantizedFloats,
  load: Load,
): Promise<Float32Array> {
  const { blocks, scales } = packed;
  for (const [name, part] of Object.entries({ blocks, scales })) {
    if (part instanceof Uint8Array) continue;
    throw invalidOption(`\`${name}\` to be a Uint8Array`, shown(part));
  }
  const { shape = [BLOCK_SIZE * scales.length] } = checkOptions(
    { shape: FLOATS_OPTIONS.shape },
    { shape: packed.shape },
  );
  const metadata = new Map(Object.entries(packed.metadata ?? {}));
  const { format, hadamard } = isRecorded(metadata)
    ? readScheme(metadata)
    : DEFAULT_SCHEME;
  const rows = rowsOf(shape, hadamard);
  const layout = layoutOf("safetensors", format);
  const heads = packedHeads(layout, "x", shape, rows) as TensorHead<Dtype>[];
  const expected = heads.map((each) => elementCount(each.shape));
  const got = [blocks.length, scales.length];
  if (expected.join() !== got.join()) {
    throw new AppError(
      "shape_mismatch",
      `Expected ${expected.join(" and ")} bytes of blocks and scales for [${shape.join(", ")}], got ${got.join(" and ")}`,
    );
  }
  const { head } = writeHead(heads, metadata);
  const body = new Blob([head, copied(blocks), copied(scales)]);
  const file = await bytesOf(
    convert("dequantize", body, { nonfinite: "keep" }, load),
  );
  const { tensors } = await readHead(new Blob([file]));
  const { start, end } = tensors[0]!;
  return new Float32Array(file.slice(start, end).buffer);
}

/** A copy with its own ArrayBuffer, as Blob requires. */
function copied(part: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(part);
}

async function bytesOf(
  answer: Promise<Response>,
): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await (await answer).arrayBuffer());
}
