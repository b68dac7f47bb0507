/** Finds each tensor of a decoder in a checkpoint: as floats, in MXFP4, or in ggml's blocks. */
import { AppError } from "../api/errors.ts";
import {
  type Checkpoint,
  type CheckpointTensor,
  type GgmlTensor,
  isOptimizers,
} from "../checkpoints/checkpoint.ts";
import { withoutFused } from "../checkpoints/fused-tensors.ts";
import { storedBlocks } from "../checkpoints/stored-blocks.ts";
import {
  byOwnName,
  takeTiedHead,
  type TwiceTheSame,
} from "../checkpoints/model-tensors.ts";
import type { PackedTensor } from "../formats/blocks/packed-tensors.ts";
import { isFloat } from "../formats/dtype.ts";
import type { Decoder, WeightTensor } from "../model/decoder.ts";
import { sizes } from "./panel-weights.ts";

/** Rows of blocks are those of the multiplied matrix, whichever way the model stores floats. */
export type StoredTensor =
  | { floats: CheckpointTensor }
  | { ggml: GgmlTensor }
  | { elements: CheckpointTensor; scales: CheckpointTensor };

/**
 * The stored tensors by the decoder's names; `twice` is set if the token table is also stored as the head, which must
 * be equal. Errors: `shape_mismatch`, `unsupported_dtype`, `invalid_config` for tensors that do not belong to the
 * decoder; those of `storedBlocks`
 */
export function storedTensors(
  decoder: Decoder,
  checkpoint: Checkpoint,
): {
  found: ReadonlyMap<string, StoredTensor>;
  twice: TwiceTheSame | undefined;
} {
  const { prefix, notRead, tiedHead, fused } = decoder;
  const tensors = withoutFused(checkpoint.tensors, fused);
  const { packed, float8, others } = storedBlocks({ ...checkpoint, tensors });
  const [eightBits] = float8.keys();
  if (eightBits !== undefined) throw notDecoded(eightBits, "FP8");
  const blocks = byOwnName(packed, prefix);
  const floats = byOwnName(others, prefix);
  const ggml = byOwnName(checkpoint.ggml ?? [], prefix);
  const twice =
    takeTiedHead<CheckpointTensor | GgmlTensor>(floats, tiedHead) ??
    takeTiedHead(ggml, tiedHead);
  const found = new Map<string, StoredTensor>();
  for (const tensor of decoder.tensors) {
    const { name } = tensor;
    const block = taken(blocks, name);
    const own = taken(ggml, name);
    const stored = block
      ? blocksOf(tensor, block)
      : own
        ? ggmlOf(tensor, own)
        : floatsOf(tensor, taken(floats, name));
    found.set(name, stored);
  }
  const [other] = [...floats.values(), ...blocks.values(), ...ggml.values()]
    .map(({ name }) => name)
    .filter((name) => !notRead.test(name) && !isOptimizers(name));
  if (other === undefined) return { found, twice };
  throw new AppError(
    "invalid_config",
    `Expected the tensors that config.json tells of, got "${other}" too`,
  );
}

function taken<T>(tensors: Map<string, T>, name: string): T | undefined {
  const found = tensors.get(name);
  tensors.delete(name);
  return found;
}

function floatsOf(
  { name, shape }: WeightTensor,
  floats: CheckpointTensor | undefined,
): StoredTensor {
  if (floats?.shape.join() !== shape.join())
    throw unlike(name, shape, floats?.shape);
  if (!isFloat(floats.dtype)) throw notDecoded(name, floats.dtype);
  return { floats };
}

function ggmlOf(tensor: WeightTensor, ggml: GgmlTensor): StoredTensor {
  const { name, kind, shape } = tensor;
  const { rows, columns } = sizes(tensor);
  const expected = kind === "values" ? shape : [rows, columns];
  if (ggml.shape.join() !== expected.join())
    throw unlike(name, expected, ggml.shape);
  return { ggml };
}

function blocksOf(
  tensor: WeightTensor,
  { shape, layout, parts }: PackedTensor,
): StoredTensor {
  const { name, kind } = tensor;
  const [elements, scales] = parts as readonly CheckpointTensor[];
  if (kind === "values" || layout.format !== "mxfp4" || !scales)
    throw notDecoded(name, `${layout.format} as ${layout.name}`);
  const { rows, columns } = sizes(tensor);
  if (shape.join() !== [rows, columns].join())
    throw unlike(name, [rows, columns], shape);
  return { elements: elements!, scales };
}

function unlike(
  name: string,
  expected: readonly number[],
  got: readonly number[] | undefined,
): AppError {
  return new AppError(
    "shape_mismatch",
    `Expected "${name}" of [${expected.join(", ")}], got ${got ? `[${got.join(", ")}]` : "none"}`,
  );
}

function notDecoded(name: string, got: string): AppError {
  return new AppError(
    "unsupported_dtype",
    `Expected "${name}" of floats, or in MXFP4 with scales apart, got ${got}: it is dequantized first`,
  );
}
