/** safetensors as a container; also the output format for .npy and raw values. */
import { type Dtype, DTYPE_BITS, dtypeBytes } from "../dtype.ts";
import { Conversion, type OpenSection } from "../stream/conversion.ts";
import { after, dropped } from "../stream/tensor-sections.ts";
import { elementCount, type TensorHead, type TensorRange } from "../tensor.ts";
import type { Container, Output, FileTarget, TensorFile } from "./container.ts";
import {
  LENGTH_BYTES,
  type Metadata,
  readHeader,
  readHeaderLength,
} from "./safetensors-reader.ts";
import { ALIGNMENT, writeHead } from "./safetensors-writer.ts";

/** Filler tensors, which align the next tensor to its width. Readers may drop them. */
const FILLER_PREFIX = "mxfp4.filler.";

export const SAFETENSORS: Container & FileTarget = {
  name: "safetensors",
  isPlain: false,
  recognizes: () => true,
  async readHead(source, first, fileBytes, beforeHead) {
    const headerBytes = readHeaderLength(first, fileBytes);
    const headBytes = LENGTH_BYTES + headerBytes;
    await beforeHead?.(headerBytes);
    const json = await source.take(headerBytes);
    const dataBytes = fileBytes - headBytes;
    const { tensors, metadata } = readHeader(json, dataBytes);
    return fileOf(tensors, metadata, headBytes, dataBytes);
  },
  write(file, output) {
    const { heads, sections } = arrange(file, output);
    const metadata = new Map([
      ...[...(file.metadata as Metadata)].filter(([key]) => output.keeps(key)),
      ...(output.adds ?? []),
    ]);
    return new Conversion({
      ...writeHead(heads, metadata),
      sections,
      pool: output.pool,
      heldBytes: output.heldBytes,
    });
  },
};

/** A file with one tensor after `headBytes`. */
export function oneTensorFile(
  tensor: TensorHead<Dtype>,
  headBytes: number,
): TensorFile {
  const end = dtypeBytes(tensor.dtype, elementCount(tensor.shape));
  return fileOf([{ ...tensor, start: 0, end }], new Map(), headBytes, end);
}

function fileOf(
  tensors: readonly TensorRange[],
  metadata: Metadata,
  headBytes: number,
  dataBytes: number,
): TensorFile {
  return {
    target: SAFETENSORS,
    headBytes,
    dataBytes,
    tensors: tensors.filter(({ name }) => !name.startsWith(FILLER_PREFIX)),
    metadata,
    alignment: ALIGNMENT,
  };
}

/**
 * Arranges the tensors of an output in order. Some readers map tensors in place and need them aligned to their width;
 * in a file sorted by width they are, in others a filler of less than 8 bytes is inserted.
 */
function arrange(
  file: TensorFile,
  output: Output,
): { heads: TensorHead<Dtype>[]; sections: OpenSection[] } {
  const heads: TensorHead<Dtype>[] = [];
  const sections: OpenSection[] = [];
  let [taken, position, fillers] = [0, 0, 0];
  for (const [i, { bytes, open, heads: written }] of output.tensors.entries()) {
    const { start, end } = file.tensors[i]!;
    const unused = start - taken;
    if (unused > 0) sections.push(() => dropped(unused));
    taken = end;
    // Nothing else is stored in a safetensors file.
    const own = written as readonly TensorHead<Dtype>[];
    const width = Math.max(1, ...own.map(({ dtype }) => DTYPE_BITS[dtype] / 8));
    const missing = bytes === 0 ? 0 : -position & (width - 1);
    if (missing > 0) {
      const name = `${FILLER_PREFIX}${fillers++}`;
      heads.push({ name, dtype: "U8", shape: [missing] });
      sections.push(() => after(new Uint8Array(missing), open()));
    } else {
      sections.push(open);
    }
    heads.push(...own);
    position += missing;
    for (const { dtype, shape } of own)
      position += dtypeBytes(dtype, elementCount(shape));
    // Only positions modulo 8 matter, and positions may exceed 32 bits.
    position %= file.alignment;
  }
  const unused = file.dataBytes - taken;
  if (unused > 0) sections.push(() => dropped(unused));
  return { heads, sections };
}
