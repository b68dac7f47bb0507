/** Floats in memory to blocks and scales, and back: what a raw file of one tensor becomes. */
import { AppError } from "../api/errors.ts";
import { checkOptions, invalid, shown } from "../api/option-kinds.ts";
import { FLOATS_OPTIONS } from "../api/options.ts";
import type { FloatsOptions, QuantizedFloats } from "../api/tensors.ts";
import { writeHead } from "../formats/containers/safetensors-writer.ts";
import { schemeOf } from "../formats/blocks/scheme.ts";
import type { TensorHead } from "../formats/tensor.ts";
import { convert } from "./convert.ts";
import { readHead } from "./head.ts";

type Load = () => Promise<unknown>;

/** Errors: `invalid_option`, `shape_mismatch` */
export async function pack(
  values: Float32Array,
  options: FloatsOptions,
  load: Load,
): Promise<QuantizedFloats> {
  if (!(values instanceof Float32Array))
    throw invalid("a Float32Array", shown(values));
  const { shape = [values.length], ...told } = checkOptions(
    FLOATS_OPTIONS,
    options,
  );
  const file = await bytesOf(
    convert(
      "quantize",
      values,
      { ...schemeOf(told), layout: "gpt-oss", raw: { dtype: "f32", shape } },
      load,
    ),
  );
  const { tensors, metadata } = await readHead(new Blob([file]));
  const [blocks, scales] = tensors.map(({ start, end }) =>
    file.slice(start, end),
  );
  return { blocks: blocks!, scales: scales!, shape, metadata };
}

/** Errors: `malformed_body`, `shape_mismatch` where the parts do not fit each other */
export async function unpack(
  packed: QuantizedFloats,
  load: Load,
): Promise<Float32Array> {
  const { blocks, scales } = packed;
  for (const [name, part] of Object.entries({ blocks, scales })) {
    if (part instanceof Uint8Array) continue;
    throw invalid(`\`${name}\` to be a Uint8Array`, shown(part));
  }
  const { shape = [32 * scales.length] } = checkOptions(
    { shape: FLOATS_OPTIONS.shape },
    { shape: packed.shape },
  );
  const groups = scales.length / Math.max(1, product(shape.slice(0, -1)));
  const perGroup = blocks.length / scales.length;
  if (!Number.isInteger(groups) || !Number.isInteger(perGroup)) {
    throw new AppError(
      "shape_mismatch",
      `Expected blocks and scales of [${shape.join(", ")}], got ${blocks.length} and ${scales.length} bytes`,
    );
  }
  const outer = [...shape.slice(0, -1), groups];
  const heads: TensorHead[] = [
    { name: "x_blocks", dtype: "U8", shape: [...outer, perGroup] },
    { name: "x_scales", dtype: "U8", shape: outer },
  ];
  const { head } = writeHead(
    heads,
    new Map(Object.entries(packed.metadata ?? {})),
  );
  const body = new Blob([head, copied(blocks), copied(scales)]);
  const file = await bytesOf(convert("dequantize", body, {}, load));
  const { tensors } = await readHead(new Blob([file]));
  const { start, end } = tensors[0]!;
  return new Float32Array(file.slice(start, end).buffer);
}

function product(sizes: readonly number[]): number {
  return sizes.reduce((all, size) => all * size, 1);
}

/** A view of memory that is this part's alone, as a Blob wants it. */
function copied(part: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(part);
}

async function bytesOf(
  answer: Promise<Response>,
): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await (await answer).arrayBuffer());
}
