/** A small GGUF with a value of every kind, which tests break. */
import {
  ARRAY,
  type Field,
  type RawGguf,
  type RawTensor,
  STRING,
  text,
  UINT32,
} from "./gguf-bytes.ts";

const F32 = 0;
export const Q8_0 = 8;

const FLOAT32 = 6;
const INT32 = 5;
const BOOL = 7;
const UINT64 = 10;

/** 512 bytes; 68, padded to 96; 44, whose padding the file does not have. */
const TENSORS: RawTensor[] = [
  { name: "w.weight", dimensions: [64, 2], type: F32, offset: 0 },
  { name: "q.weight", dimensions: [32, 2], type: Q8_0, offset: 512 },
  { name: "w.bias", dimensions: [11], type: F32, offset: 608 },
];

export const EXAMPLE: RawGguf = {
  magic: "GGUF",
  version: 3,
  tensorCount: 3,
  pairCount: 7,
  pairs: [
    { key: "general.architecture", type: STRING, value: text("gpt2") },
    { key: "general.alignment", type: UINT32, value: [{ u32: 32 }] },
    { key: "tokens", type: ARRAY, value: strings("a", "bü") },
    {
      key: "types",
      type: ARRAY,
      value: [
        { u32: INT32 },
        { u64: 2, counts: "numbers" },
        { u32: 1 },
        { u32: 3 },
      ],
    },
    { key: "epsilon", type: FLOAT32, value: [{ u32: 0x3727c5ac }] },
    { key: "adds", type: BOOL, value: [Uint8Array.of(1)] },
    { key: "parameters", type: UINT64, value: [{ u64: 203 }] },
  ],
  tensors: TENSORS,
  alignment: 32,
  data: Uint8Array.from({ length: 652 }, (_, i) => (i * 7) % 60),
};

function strings(...values: string[]): Field[] {
  const count = { u64: values.length, counts: "strings" };
  return [{ u32: STRING }, count, ...values.flatMap(text)];
}

/** The example with one of its tensors changed. */
export function withTensor(
  index: number,
  changes: Partial<RawTensor>,
): RawGguf {
  const tensors = TENSORS.map((tensor, i) =>
    i === index ? { ...tensor, ...changes } : tensor,
  );
  return { ...EXAMPLE, tensors };
}

/** The example with another `general.alignment`, of this type. */
export function withAlignment(type: number, value: Field[]): RawGguf {
  const pairs = EXAMPLE.pairs.map((pair) =>
    pair.key === "general.alignment" ? { ...pair, type, value } : pair,
  );
  return { ...EXAMPLE, pairs };
}
