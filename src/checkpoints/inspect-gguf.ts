/** Inspects a GGUF: its tensors, and what llama.cpp could load in MXFP4. */
import type { GgufParts } from "./gguf-parts.ts";
import { grouped } from "./grouped.ts";
import { TARGETS } from "../api/scheme.ts";
import type { GgufHead } from "../formats/containers/gguf-reader.ts";
import {
  TENSOR_TYPES,
  VALUE_TYPE,
  ggufTensorBytes,
} from "../formats/containers/gguf-types.ts";
import { ggufRole, whyNotInBlocks } from "../formats/roles/gguf-rules.ts";
import { isFloat } from "../formats/dtype.ts";
import { elementCount } from "../formats/tensor.ts";
import {
  dtypesOf,
  type Inspection,
  type InspectedTensor,
  total,
} from "./inspect.ts";
import { packedBytes } from "./shards.ts";

/** Dtypes that quantizing a GGUF accepts. */
const FLOATS = ["F32", "F16", "BF16"];
const QUANTIZED = /^([IT]?Q|MXFP|NVFP)/;
/** Bytes per block of Q8_0. */
const Q8_BLOCK = 34;

export function inspectGguf({ pairs, parts }: GgufParts): Inspection {
  const tensors = parts.flatMap(({ name: file, gguf }) =>
    gguf.tensors.map((tensor) => ({ ...tensor, file })),
  );
  const inspected = tensors.map((tensor): InspectedTensor => {
    const { name, file, dimensions, type } = tensor;
    const [dtype] = TENSOR_TYPES[type]!;
    const shape = dimensions.toReversed();
    const bytes = ggufTensorBytes(tensor);
    const { kind, reason } = ggufRole(name, dimensions);
    const ragged = FLOATS.includes(dtype)
      ? whyNotInBlocks(dimensions)
      : QUANTIZED.test(dtype)
        ? `${dtype} already`
        : isFloat(dtype)
          ? `${dtype} is not packed`
          : "not floats";
    const isMatrix = kind === "matrix";
    const packed = isMatrix && ragged === undefined;
    const isVocabulary = kind === "vocabulary" && ragged === undefined;
    return {
      name,
      file,
      dtype,
      shape,
      role: isMatrix ? "linear" : "keep",
      kind: isMatrix
        ? shape.length > 2
          ? "experts"
          : "linear"
        : kind === "vocabulary"
          ? "head"
          : "other",
      packed,
      reason:
        isMatrix && ragged !== undefined ? `${reason}; ${ragged}` : reason,
      bytes,
      mxfp4Bytes: packed
        ? packedBytes({ shape })
        : isVocabulary
          ? (elementCount(shape) / 32) * Q8_BLOCK
          : bytes,
    };
  });
  // Tensors that are MXFP4 already are loaded as they are.
  const packedTensors = inspected.filter(
    ({ packed, dtype }) => packed || dtype === "MXFP4",
  ).length;
  const types = grouped(
    inspected.filter(({ dtype }) => QUANTIZED.test(dtype)),
    ({ dtype }) => dtype,
  );
  const bytes = total(inspected, "bytes");
  const mxfp4Bytes = total(inspected, "mxfp4Bytes");
  return {
    modelType: textOf(pairs, "general.architecture"),
    tensors: inspected,
    dtypes: dtypesOf(inspected),
    formats: [...types].map(([type, [first, ...others]]) => ({
      format: `${type}, ggml`,
      weights: others.length + 1,
      example: first!.name,
    })),
    bytes,
    mxfp4Bytes,
    loaders: [
      ...TARGETS.map((loader) => ({
        loader,
        loads: false,
        refusals: [`${loader} loads a directory of safetensors, not a GGUF`],
        packedTensors: 0,
        bytes,
      })),
      {
        loader: "llama.cpp" as const,
        loads: packedTensors > 0,
        refusals:
          packedTensors > 0
            ? []
            : ["no matrix in MXFP4, nor of floats that can be packed"],
        packedTensors,
        bytes: mxfp4Bytes,
      },
    ],
  };
}

/** The string value of a pair, encoded as: u64 length and key, u32 type, u64 length and text. */
function textOf(pairs: GgufHead["pairs"], key: string): string | null {
  const encoded = pairs.get(key);
  if (!encoded) return null;
  const { buffer, byteOffset, length } = encoded;
  const typeAt = 8 + key.length;
  const type = new DataView(buffer, byteOffset, length).getUint32(typeAt, true);
  if (type !== VALUE_TYPE.STRING) return null;
  return new TextDecoder().decode(encoded.subarray(typeAt + 4 + 8));
}
