/** GGUF as a container. */
import type { StoredType } from "../dtype.ts";
import { Conversion, type OpenSection } from "../stream/conversion.ts";
import { before, dropped } from "../stream/tensor-sections.ts";
import type { TensorHead } from "../tensor.ts";
import type { Container, Target } from "./container.ts";
import { isGguf, readGgufHead } from "./gguf-reader.ts";
import {
  type GgufTensor,
  paddingAfter,
  TENSOR_TYPES,
  tensorBytes,
} from "./gguf-types.ts";
import { encodePair, writeGgufHead } from "./gguf-writer.ts";

/** `general.file_type` by what most tensors are, as llama.cpp numbers them. */
const FILE_TYPES: Partial<Record<StoredType, number>> = {
  F32: 0,
  F16: 1,
  BF16: 32,
  MXFP4: 38,
};
const QUANTIZATION_VERSION = 2;

/** ggml's number of each type. */
const TYPE_NUMBERS = new Map(
  Object.entries(TENSOR_TYPES).map(([type, [name]]) => [name, Number(type)]),
);

export const GGUF: Container & Target = {
  name: "gguf",
  isPlain: true,
  recognizes: isGguf,
  async readHead(source, first, fileBytes, beforeHead) {
    const { gguf, headBytes } = await readGgufHead(
      source,
      first,
      fileBytes,
      beforeHead,
    );
    let start = 0;
    const tensors = gguf.tensors.map((tensor) => {
      const end = start + tensorBytes(tensor);
      const [dtype] = TENSOR_TYPES[tensor.type]!;
      const shape = tensor.dimensions.toReversed();
      const range = { name: tensor.name, dtype, shape, start, end };
      start = end + paddingAfter(end, gguf.alignment);
      return range;
    });
    return {
      target: GGUF,
      headBytes,
      dataBytes: fileBytes - headBytes,
      tensors,
      metadata: gguf.pairs,
      alignment: gguf.alignment,
    };
  },
  write(file, { tensors, keeps, adds = [], dtype }) {
    const pairs = new Map([
      ...([...file.metadata] as [string, Uint8Array][]).filter(([key]) =>
        keeps(key),
      ),
      pair("general.file_type", { uint32: FILE_TYPES[dtype]! }),
      pair("general.quantization_version", { uint32: QUANTIZATION_VERSION }),
      ...adds.map(([key, string]) => pair(key, { string })),
    ]);
    const heads: GgufTensor[] = [];
    const sections: OpenSection[] = [];
    for (const [i, { open, heads: written }] of tensors.entries()) {
      const head = ggufTensor(written[0]!);
      heads.push(head);
      const padding = paddingAfter(tensorBytes(head), file.alignment);
      sections.push(
        padding === 0 ? open : () => before(new Uint8Array(padding), open()),
      );
      // The padding behind the last tensor may be missing.
      const next = file.tensors[i + 1]?.start ?? file.dataBytes;
      const unused = next - file.tensors[i]!.end;
      if (unused > 0) sections.push(() => dropped(unused));
    }
    const written = writeGgufHead(pairs, heads, file.alignment);
    // A vocabulary of megabytes is in it, which slow readers take slowly.
    const heldBytes = written.head.length;
    return new Conversion({ ...written, sections, heldBytes });
  },
};

function ggufTensor({ name, dtype, shape }: TensorHead): GgufTensor {
  const type = TYPE_NUMBERS.get(dtype)!;
  return { name, dimensions: shape.toReversed(), type };
}

function pair(
  key: string,
  value: Parameters<typeof encodePair>[1],
): [string, Uint8Array] {
  return [key, encodePair(key, value)];
}
