/** GGUF as a container. */
import type { StoredType } from "../dtype.ts";
import { Conversion, type OpenSection } from "../stream/conversion.ts";
import { before, dropped } from "../stream/tensor-sections.ts";
import type { TensorHead, TensorRange } from "../tensor.ts";
import type { Container, FileTarget } from "./container.ts";
import { type GgufHead, isGguf, readGgufHead } from "./gguf-reader.ts";
import { checkWhole } from "./gguf-split.ts";
import {
  type GgufTensor,
  paddingAfter,
  TENSOR_TYPES,
  ggufTensorBytes,
} from "./gguf-types.ts";
import { encodePair, writeGgufHead } from "./gguf-writer.ts";

/**
 * `general.file_type` by a file's main type, as numbered by llama.cpp (include/llama.h); for k-quant mixtures, the
 * medium one. ggml's other types have no number.
 */
const FILE_TYPES: Partial<Record<StoredType, number>> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q8_0: 7,
  Q5_0: 8,
  Q5_1: 9,
  Q2_K: 10,
  Q3_K: 12,
  Q4_K: 15,
  Q5_K: 17,
  Q6_K: 18,
  IQ2_XXS: 19,
  IQ2_XS: 20,
  IQ3_XXS: 23,
  IQ1_S: 24,
  IQ4_NL: 25,
  IQ3_S: 26,
  IQ2_S: 28,
  IQ4_XS: 30,
  IQ1_M: 31,
  BF16: 32,
  TQ1_0: 36,
  TQ2_0: 37,
  MXFP4: 38,
  NVFP4: 39,
};
const QUANTIZATION_VERSION = 2;

/** Type numbers of ggml. */
const TYPE_NUMBERS = new Map(
  Object.entries(TENSOR_TYPES).map(([type, [name]]) => [name, Number(type)]),
);

export const GGUF: Container & FileTarget = {
  name: "gguf",
  isPlain: true,
  recognizes: isGguf,
  async readHead(source, first, fileBytes, beforeHead) {
    const { gguf, headBytes } = await readGgufHead(source, first, fileBytes, {
      beforeLongHead: beforeHead,
    });
    checkWhole(gguf.pairs);
    return {
      target: GGUF,
      headBytes,
      dataBytes: fileBytes - headBytes,
      tensors: rangesOf(gguf),
      metadata: gguf.pairs,
      alignment: gguf.alignment,
    };
  },
  write(file, { tensors, keeps, adds = [], mostly }) {
    const pairs = new Map([
      ...([...file.metadata] as [string, Uint8Array][]).filter(([key]) =>
        keeps(key),
      ),
      ...typePairs(mostly),
      ...adds.map(([key, string]) => pair(key, { string })),
    ]);
    const heads: GgufTensor[] = [];
    const sections: OpenSection[] = [];
    for (const [i, { open, heads: written }] of tensors.entries()) {
      const head = ggufTensor(written[0]!);
      heads.push(head);
      const padding = paddingAfter(ggufTensorBytes(head), file.alignment);
      sections.push(
        padding === 0 ? open : () => before(new Uint8Array(padding), open()),
      );
      // The padding after the last tensor may be missing.
      const next = file.tensors[i + 1]?.start ?? file.dataBytes;
      const unused = next - file.tensors[i]!.end;
      if (unused > 0) sections.push(() => dropped(unused));
    }
    const written = writeGgufHead(pairs, heads, file.alignment);
    // It includes the vocabulary, megabytes that slow readers read slowly.
    const heldBytes = written.head.length;
    return new Conversion({ ...written, sections, heldBytes });
  },
};

/** The tensors' ranges after the header. */
export function rangesOf({ tensors, alignment }: GgufHead): TensorRange[] {
  let start = 0;
  return tensors.map((tensor) => {
    const end = start + ggufTensorBytes(tensor);
    const [dtype] = TENSOR_TYPES[tensor.type]!;
    const shape = tensor.dimensions.toReversed();
    const range = { name: tensor.name, dtype, shape, start, end };
    start = end + paddingAfter(end, alignment);
    return range;
  });
}

/** The key-values about a file's types. */
export function typePairs(
  mostly: StoredType | undefined,
): [string, Uint8Array][] {
  const fileType = mostly && FILE_TYPES[mostly];
  return [
    ...(fileType === undefined
      ? []
      : [pair("general.file_type", { uint32: fileType })]),
    pair("general.quantization_version", { uint32: QUANTIZATION_VERSION }),
  ];
}

export function ggufTensor({ name, dtype, shape }: TensorHead): GgufTensor {
  const type = TYPE_NUMBERS.get(dtype)!;
  return { name, dimensions: shape.toReversed(), type };
}

function pair(
  key: string,
  value: Parameters<typeof encodePair>[1],
): [string, Uint8Array] {
  return [key, encodePair(key, value)];
}
