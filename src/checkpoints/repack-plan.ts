/**
 * Plans converting an MXFP4 directory to another layout: the same codes and scales, not decoded, with the names and
 * config.json that the layout's loaders need. Elements and scales may be in different files.
 */
import { AppError } from "../api/errors.ts";
import { type Layout, TARGETS } from "../api/scheme.ts";
import {
  type BlockLayout,
  layoutOf,
  packedHeads,
} from "../formats/blocks/block-layouts.ts";
import { checkSize } from "../formats/blocks/block-rows.ts";
import type { Float8Tensor } from "../formats/blocks/fp8-scales.ts";
import { type Watch, watchedScales } from "../formats/blocks/nonfinite.ts";
import {
  interleaved,
  pairSource,
  separated,
} from "../formats/blocks/packed-sections.ts";
import {
  isInLayout,
  type PackedTensor,
} from "../formats/blocks/packed-tensors.ts";
import { scaleBytes } from "../formats/blocks/quantized-sections.ts";
import type { Dtype } from "../formats/dtype.ts";
import { decideRoles } from "../formats/roles/roles.ts";
import { copied, kept } from "../formats/stream/tensor-sections.ts";
import { hasElements, type TensorHead } from "../formats/tensor.ts";
import { type BlocksPlan, writtenBlocks } from "./blocks-plan.ts";
import type { Checkpoint, CheckpointTensor } from "./checkpoint.ts";
import { whatIsIn } from "./formats-in.ts";
import { type StoredWeight, whyNotLoaded } from "./loaded-layouts.ts";
import { repackedCard } from "./model-card.ts";
import { layoutConfig } from "./quantization-config.ts";
import { storedBlocks } from "./stored-blocks.ts";
import type { WrittenPart } from "./written-parts.ts";
import { LOADED_FORMAT } from "./targets.ts";

/**
 * FP8 beside MXFP4 becomes BF16 if that is lossless, since the layout's config does not describe it. Errors:
 * `nothing_to_convert` if nothing is in MXFP4, or all in the layout already; `unsupported_dtype` for MXFP8, and FP8
 * that BF16 cannot represent; those of `storedBlocks`, `packedHeads`, `layoutConfig` and `writtenFiles`
 */
export function planRepackedDirectory(
  checkpoint: Checkpoint,
  to: Layout,
  maxShardBytes: number,
  watch?: Watch,
): BlocksPlan {
  const { config } = checkpoint;
  const stored = storedBlocks(checkpoint);
  const { packed, float8, others } = stored;
  checkFormats(packed, float8);
  const target = layoutOf("safetensors", LOADED_FORMAT, to);
  const moving = packed.map((tensor) => movingPart(tensor, target, watch));
  if (!packed.some((tensor, i) => moving[i] && hasElements(tensor)))
    throw nothingToMove(checkpoint, to, packed.filter(hasElements).length);
  const heads: TensorHead<Dtype>[] = [
    ...[...packed, ...Array.from(float8.values(), ({ weight }) => weight)].map(
      ({ name, shape }) => ({ name, dtype: "BF16" as const, shape }),
    ),
    ...others,
  ];
  const decisions = decideRoles(heads, config).map((decision, i) => ({
    ...decision,
    packed: i < packed.length,
  }));
  const ownConfig = layoutConfig(to, heads, decisions, config);
  const weights = heads.map((head, i): StoredWeight => ({
    head,
    decision: decisions[i]!,
    layout: i < packed.length ? to : null,
  }));
  const loaders = TARGETS.filter(
    (loader) => whyNotLoaded(loader, weights, ownConfig).length === 0,
  );
  return {
    ...writtenBlocks(stored, {
      parts: packed.map((tensor, i) => moving[i] ?? stayingPart(tensor)),
      dtype: "BF16",
      config: ownConfig,
      maxShardBytes,
      watch,
    }),
    card: (name, digestOf) =>
      repackedCard({
        name,
        layout: to,
        loaders,
        tensors: packed.map((tensor) => ({
          ...tensor,
          digest: digestOf(tensor.name),
        })),
      }),
    digested: new Set(packed.map(({ name }) => name)),
    done: `${packed.length} tensors in layout ${to}, which ${loaders.join(" and ") || "no loader"} loads`,
  };
}

/** Undefined if the tensor is in the layout already. */
function movingPart(
  tensor: PackedTensor,
  target: BlockLayout,
  watch: Watch | undefined,
): WrittenPart | undefined {
  const { name, shape, rows } = tensor;
  checkSize(name, rows);
  if (isInLayout(tensor, target)) return undefined;
  const parts = tensor.parts as readonly CheckpointTensor[];
  const heads = packedHeads(target, name, shape, rows) as TensorHead<Dtype>[];
  const [elements, scales] = parts.map(
    (part) => [part, part.end - part.start] as const,
  );
  const part = { name, heads };
  if (!scales)
    return {
      ...part,
      reads: [elements![0]],
      heldBytes: scaleBytes(rows),
      open: (pool, index) => [() => separated(tensor, pool, index, watch)],
    };
  const bytes = scales[1];
  if (heads.length === 1)
    return {
      ...part,
      reads: [scales[0], elements![0]],
      heldBytes: bytes,
      open: (pool, index) => [
        () => kept(bytes, pool, index),
        () =>
          interleaved(
            tensor,
            pairSource(tensor, { pool, index, bytes }, false),
            watch,
          ),
      ],
    };
  return {
    ...part,
    reads: [elements![0], scales[0]],
    heldBytes: 0,
    open: () => [
      () => copied(elements![1]),
      () => watchedScales(tensor, copied(bytes), watch),
    ],
  };
}

/** Copied as it is. */
function stayingPart({ name, parts }: PackedTensor): WrittenPart {
  const own = parts as readonly CheckpointTensor[];
  return {
    name,
    heads: own.map(({ name: called, dtype, shape }) => ({
      name: called,
      dtype,
      shape,
    })),
    reads: own,
    heldBytes: 0,
    open: () =>
      own.map(
        ({ start, end }) =>
          () =>
            copied(end - start),
      ),
  };
}

function checkFormats(
  packed: readonly PackedTensor[],
  float8: ReadonlyMap<string, Float8Tensor>,
): void {
  const other = packed.find(({ layout }) => layout.format !== LOADED_FORMAT);
  if (other)
    throw new AppError(
      "unsupported_dtype",
      `Expected a directory in MXFP4 to repack, got ${other.layout.format} in "${other.name}"; a file of it can be repacked alone`,
    );
  // FP8 codes scaled by powers of two have at most four significant bits.
  const rounded = [...float8.values()].find(
    ({ scale }) => scale && scale.tensor.dtype !== "F8_E8M0",
  );
  if (rounded)
    throw new AppError(
      "unsupported_dtype",
      `Expected FP8 beside MXFP4 whose scales are powers of two, which BF16 holds without loss, got "${rounded.weight.name}" with scales of ${rounded.scale!.tensor.dtype}; dequantize the directory`,
    );
}

function nothingToMove(
  { tensors, config }: Checkpoint,
  layout: Layout,
  packed: number,
): AppError {
  return new AppError(
    "nothing_to_convert",
    packed === 0
      ? `Expected tensors in MXFP4 to repack, got none: the directory holds ${whatIsIn(tensors, config)}`
      : `Expected tensors in another layout than ${layout}, got ${packed} that are in it`,
  );
}
