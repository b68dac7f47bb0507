/**
 * A directory of blocks to one of floats, under the names and in the order that the model's own weights
 * have, so that what loads the model loads it. Elements and scales may lie in files apart.
 */
import { AppError } from "../api/errors.ts";
import { BLOCK_SIZE } from "../kernels/mx.ts";
import { checkSize } from "../formats/blocks/block-rows.ts";
import { decodedTurned } from "../formats/blocks/decoded-turned.ts";
import { type Watch, watched } from "../formats/blocks/nonfinite.ts";
import {
  type BlockSource,
  decoded,
  decodedElements,
  GGML_SOURCE,
  pairSource,
} from "../formats/blocks/packed-sections.ts";
import {
  recognizeFormats,
  refuseUnread,
} from "../formats/blocks/foreign-formats.ts";
import type { Float8Tensor } from "../formats/blocks/fp8-scales.ts";
import {
  findPacked,
  type PackedTensor,
} from "../formats/blocks/packed-tensors.ts";
import { refloated } from "../formats/blocks/refloated-section.ts";
import { PLAIN } from "../formats/blocks/quantization-record.ts";
import { SAFETENSORS } from "../formats/containers/safetensors-file.ts";
import { writeHead } from "../formats/containers/safetensors-writer.ts";
import { type DecodedDtype, type Dtype, DTYPE_BITS } from "../formats/dtype.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import { Conversion, type OpenSection } from "../formats/stream/conversion.ts";
import { HoldPool } from "../formats/stream/hold-pool.ts";
import { copied, kept } from "../formats/stream/tensor-sections.ts";
import {
  compareNames,
  elementCount,
  type TensorHead,
} from "../formats/tensor.ts";
import {
  type Checkpoint,
  type CheckpointTensor,
  CONFIG_FILE,
} from "./checkpoint.ts";
import {
  float8Held,
  float8Reads,
  float8Sections,
  viewFloat8,
} from "./float8-parts.ts";
import { formatsIn } from "./formats-in.ts";
import { indexOf, type PlannedShard, shardsOf } from "./shards.ts";

export type DequantizedPlan = {
  shards: readonly PlannedShard[];
  texts: readonly (readonly [file: string, text: string])[];
  /** Those that were decoded, by the names that they have now. */
  decoded: readonly string[];
};

/** One tensor of the output, and what is read for it, in order. */
type Part = {
  head: TensorHead<Dtype>;
  reads: readonly CheckpointTensor[];
  /** Of what is read, held until the rest has come. */
  heldBytes: number;
  open: (pool: HoldPool, hold: number) => OpenSection[];
};

/**
 * Errors: `nothing_to_convert` where nothing is in blocks or FP8, `unsupported_dtype` for a format that is not
 * read; those of `findPacked` and `findFloat8`
 */
export function planDequantizedDirectory(
  { tensors, config, recorded }: Checkpoint,
  dtype: DecodedDtype,
  maxShardBytes: number,
  watch?: Watch,
): DequantizedPlan {
  if (recorded !== undefined)
    throw new AppError(
      "invalid_option",
      `Expected files that decode plainly in a directory, got ${recorded}, which tells how it was quantized: dequantize it alone`,
    );
  refuseUnread(tensors);
  const { packed } = findPacked({
    target: SAFETENSORS,
    tensors,
    metadata: new Map(),
  });
  const taken = new Set<TensorHead>(packed.flatMap(({ parts }) => parts));
  const left = tensors.filter((tensor) => !taken.has(tensor));
  const { tensors: seen, float8 } = viewFloat8(left);
  if (packed.length + float8.size === 0) throw nothingPacked(tensors, config);
  const others = seen.filter(({ name }) => !float8.has(name));
  const [unread] = recognizeFormats(others);
  if (unread)
    throw new AppError(
      "invalid_option",
      `Expected blocks of MXFP4 or MXFP8 alone, got ${unread.format} too, as "${unread.example}"`,
    );
  const parts = [
    ...packed.map((tensor) => decodedPart(tensor, dtype, config, watch)),
    ...Array.from(float8.values(), (tensor) =>
      float8Part(tensor, dtype, watch),
    ),
    ...others.map(copiedPart),
  ];
  checkNames(parts);
  const byName = new Map(parts.map((part) => [part.head.name, part]));
  const cut = shardsOf(
    [...byName.keys()]
      .toSorted(compareNames)
      .map((name) => [byName.get(name)!.head]),
    maxShardBytes,
  );
  const index = indexOf(cut);
  const own = { ...config };
  delete own.quantization;
  delete own.quantization_config;
  return {
    shards: cut.map(({ file, tensors: heads }) =>
      shardOf(
        file,
        heads.map(({ name }) => byName.get(name)!),
      ),
    ),
    texts: [
      ...(config
        ? [[CONFIG_FILE, `${JSON.stringify(own, null, 2)}\n`] as const]
        : []),
      ...(index ? [index] : []),
    ],
    decoded: [...packed.map(({ name }) => name), ...float8.keys()],
  };
}

function shardOf(file: string, unsorted: readonly Part[]): PlannedShard {
  // Wide ones come first, so that each starts at a multiple of its width.
  const parts = unsorted.toSorted(
    (a, b) => DTYPE_BITS[b.head.dtype] - DTYPE_BITS[a.head.dtype],
  );
  const heads = parts.map(({ head }) => head);
  return {
    file,
    heads,
    reads: parts.flatMap(({ reads }) => reads),
    groups: heads.map((head) => ({ name: head.name, heads: [head] })),
    conversion() {
      const pool = new HoldPool();
      const sections = parts.flatMap(({ open }, i) => open(pool, i));
      const metadata = new Map([["format", "pt"]]);
      const heldBytes = Math.max(0, ...parts.map((part) => part.heldBytes));
      const head = writeHead(heads, metadata);
      return new Conversion({ ...head, sections, pool, heldBytes });
    },
  };
}

function copiedPart(tensor: CheckpointTensor): Part {
  const { name, dtype, shape, start, end } = tensor;
  return {
    head: { name, dtype, shape },
    reads: [tensor],
    heldBytes: 0,
    open: () => [() => copied(end - start)],
  };
}

function float8Part(
  tensor: Float8Tensor,
  dtype: DecodedDtype,
  watch: Watch | undefined,
): Part {
  const { name, shape } = tensor.weight;
  const head = { name, dtype, shape };
  const count = elementCount(shape);
  const row = { rows: 1, k: count, padded: count };
  const inner = () =>
    watched(head, { reads: "F32", writes: dtype }, watch, (lost) =>
      refloated(row, "F32", dtype, lost),
    );
  return {
    head,
    reads: float8Reads(tensor),
    heldBytes: float8Held(tensor),
    open: (pool, hold) => float8Sections(tensor, pool, hold, inner),
  };
}

function decodedPart(
  tensor: PackedTensor,
  dtype: DecodedDtype,
  config: ModelConfig | undefined,
  watch: Watch | undefined,
): Part {
  const { name, shape, rows, parts } = tensor;
  checkSize(name, rows);
  const [elements, scales] = parts as readonly CheckpointTensor[];
  const isTurned = wasTurned(name, shape, config);
  const head = { name, dtype, shape: isTurned ? swapped(shape) : shape };
  const each = isTurned
    ? () => elementCount(shape.slice(-2))
    : decodedElements(rows);
  const types = { writes: dtype, elements: each };
  const open = (source: BlockSource) =>
    watched(head, types, watch, (lost) =>
      decoded(tensor, source, dtype, PLAIN, lost),
    );
  if (!scales)
    return {
      head,
      reads: [elements!],
      heldBytes: 0,
      open: () => [() => open(GGML_SOURCE)],
    };
  // Scales are a sixteenth of the elements: they are what is held.
  const bytes = scales.end - scales.start;
  return {
    head,
    reads: [scales, elements!],
    heldBytes: bytes,
    open: (pool, index) => [
      () => kept(bytes, pool, index),
      () =>
        isTurned
          ? watched(head, types, watch, (lost) =>
              decodedTurned(tensor, dtype, pool, index, lost),
            )
          : open(pairSource(tensor, { pool, index, bytes }, false)),
    ],
  };
}

/** Models of transformers whose layers are `Conv1D`, which stores [in, out], and what those are called. */
const CONV1D_MODELS = /^(gpt2|openai-gpt|imagegpt|decision_transformer)$/;
const CONV1D = /(^|\.)(c_attn|q_attn|c_proj|c_fc)\.weight$/;

/** Whether the model has it as [in, out], where blocks are of [out, in]: blocks do not tell. */
function wasTurned(
  name: string,
  shape: readonly number[],
  config: ModelConfig | undefined,
): boolean {
  const model = String(config?.model_type);
  if (shape.length < 2 || shape.at(-1)! % BLOCK_SIZE !== 0) return false;
  return (
    (CONV1D_MODELS.test(model) && CONV1D.test(name)) ||
    (model === "gpt_oss" && /(^|\.)experts\.(gate_up|down)_proj$/.test(name))
  );
}

function swapped(shape: readonly number[]): number[] {
  return [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!];
}

function checkNames(parts: readonly Part[]): void {
  const names = new Set<string>();
  for (const {
    head: { name },
  } of parts) {
    if (names.has(name))
      throw new AppError(
        "name_collision",
        `Expected no tensor of the name that a decoded one has, got "${name}"`,
      );
    names.add(name);
  }
}

function nothingPacked(
  tensors: Checkpoint["tensors"],
  config: ModelConfig | undefined,
): AppError {
  const formats = formatsIn(tensors, config);
  const found =
    formats.map(({ format }) => format).join(", ") ||
    [...new Set(tensors.map(({ dtype }) => dtype))].join(", ");
  return new AppError(
    "nothing_to_convert",
    `Expected tensors in MXFP4, MXFP8 or FP8 to decode, got none: the directory holds ${found}`,
  );
}
