/** Conversions of whole files in memory, outside of HTTP. */
import { concatenate } from "../../src/formats/stream/bytes.ts";
import { type Conversion, run } from "../../src/formats/stream/conversion.ts";
import { planDequantize } from "../../src/formats/operations/dequantize-file.ts";
import type { DecodedDtype } from "../../src/formats/dtype.ts";
import type { TensorFile } from "../../src/formats/containers/container.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import type { Layout } from "../../src/api/scheme.ts";
import { planQuantize } from "../../src/formats/operations/quantize-file.ts";
import {
  readSafetensors,
  type SafetensorsFile,
} from "../../src/formats/containers/safetensors.ts";
import type { Scheme } from "../../src/api/scheme.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import { type ByteSource, sourceOf } from "../../src/formats/stream/source.ts";

export type Converted = {
  bytes: Uint8Array<ArrayBuffer>;
  file: SafetensorsFile;
};

const ALL = { include: [], exclude: [] };

/** The whole output of `plan` for the file. */
export async function convert(
  file: Uint8Array,
  plan: (file: TensorFile) => Conversion,
): Promise<Uint8Array<ArrayBuffer>> {
  const source = sourceOf(file);
  return collect(plan(await readTensorFile(source, file.length)), source);
}

export async function collect(
  conversion: Conversion,
  source: ByteSource,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of run(conversion, source)) chunks.push(chunk.slice());
  return concatenate(
    chunks.reduce((sum, { length }) => sum + length, 0),
    chunks,
  );
}

export async function quantizeFile(
  file: Uint8Array,
  scheme: Partial<Scheme>,
  layout?: Layout,
): Promise<Converted> {
  const options = {
    scheme: { ...DEFAULT_SCHEME, ...scheme },
    layout,
    selection: ALL,
  };
  const bytes = await convert(file, (input) => planQuantize(input, options));
  return { bytes, file: readSafetensors(bytes) };
}

export async function dequantizeFile(
  file: Uint8Array,
  dtype: DecodedDtype = "F32",
): Promise<Converted> {
  const bytes = await convert(file, (input) => planDequantize(input, dtype));
  return { bytes, file: readSafetensors(bytes) };
}
