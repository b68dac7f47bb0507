/**
 * Plans decoding a quantized directory to floats, with the model's own tensor names and axis order, so that any
 * loader of the model can load it. Elements and scales may be in different files.
 */
import { AppError } from "../api/errors.ts";
import { BLOCK_SIZE } from "../kernels/mx.ts";
import { checkSize } from "../formats/blocks/block-rows.ts";
import { decodedTurned } from "../formats/blocks/decoded-turned.ts";
import { type Watch, watched } from "../formats/blocks/nonfinite.ts";
import {
  decoded,
  decodedElements,
  GGML_SOURCE,
  pairSource,
} from "../formats/blocks/packed-sections.ts";
import type { PackedTensor } from "../formats/blocks/packed-tensors.ts";
import { PLAIN } from "../formats/blocks/quantization-record.ts";
import type { DecodedDtype } from "../formats/dtype.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import type { Hold } from "../formats/stream/hold-pool.ts";
import { kept } from "../formats/stream/tensor-sections.ts";
import { elementCount, hasElements, swapped } from "../formats/tensor.ts";
import { type BlocksPlan, writtenBlocks } from "./blocks-plan.ts";
import type { Checkpoint, CheckpointTensor } from "./checkpoint.ts";
import { whatIsIn } from "./formats-in.ts";
import { decodedCard } from "./model-card.ts";
import { plainConfig } from "./quantization-config.ts";
import { storedBlocks } from "./stored-blocks.ts";
import type { WrittenPart } from "./written-parts.ts";

/** Errors: `nothing_to_convert` if nothing is quantized or FP8; those of `storedBlocks` and `writtenFiles` */
export function planDequantizedDirectory(
  checkpoint: Checkpoint,
  dtype: DecodedDtype,
  maxShardBytes: number,
  watch?: Watch,
): BlocksPlan {
  const { config } = checkpoint;
  const stored = storedBlocks(checkpoint);
  const { packed, float8 } = stored;
  const weights = Array.from(float8.values(), ({ weight }) => weight);
  if (![...packed, ...weights].some(hasElements))
    throw nothingPacked(checkpoint);
  const decoded = [...packed.map(({ name }) => name), ...float8.keys()];
  return {
    ...writtenBlocks(stored, {
      parts: packed.map((tensor) => decodedPart(tensor, dtype, config, watch)),
      dtype,
      config: config && plainConfig(config),
      maxShardBytes,
      watch,
    }),
    card: (name) => decodedCard(name, dtype, decoded),
    digested: new Set(),
    done: `${decoded.length} tensors to ${dtype}`,
  };
}

function decodedPart(
  tensor: PackedTensor,
  dtype: DecodedDtype,
  config: ModelConfig | undefined,
  watch: Watch | undefined,
): WrittenPart {
  const { name, shape, rows, parts } = tensor;
  checkSize(name, rows);
  const [elements, scales] = parts as readonly CheckpointTensor[];
  const isTurned = wasTurned(name, shape, config);
  const head = { name, dtype, shape: isTurned ? swapped(shape) : shape };
  const each = isTurned
    ? () => elementCount(shape.slice(-2))
    : decodedElements(rows);
  const types = { writes: dtype, elements: each };
  const open = (hold?: Hold) =>
    watched(head, types, watch, (lost) => {
      if (isTurned) return decodedTurned(tensor, dtype, hold, lost);
      const source = hold ? pairSource(tensor, hold, false) : GGML_SOURCE;
      return decoded(tensor, source, dtype, PLAIN, lost);
    });
  const part = { name, heads: [head] };
  if (!scales) {
    const sections = () => [() => open()];
    return { ...part, reads: [elements!], heldBytes: 0, open: sections };
  }
  // Scales are read first and held, since they are a sixteenth of the elements.
  const bytes = scales.end - scales.start;
  return {
    ...part,
    reads: [scales, elements!],
    heldBytes: bytes,
    open: (pool, index) => [
      () => kept(bytes, pool, index),
      () => open({ pool, index, bytes }),
    ],
  };
}

/** Models of transformers with `Conv1D` layers, which store [in, out], and the names of these layers. */
const CONV1D_MODELS = /^(gpt2|openai-gpt|imagegpt|decision_transformer)$/;
const CONV1D = /(^|\.)(c_attn|q_attn|c_proj|c_fc)\.weight$/;

/** Whether the model stores this weight as [in, out]; blocks are always [out, in]. */
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

function nothingPacked({ tensors, config }: Checkpoint): AppError {
  return new AppError(
    "nothing_to_convert",
    `Expected tensors in MXFP4, MXFP8 or FP8 to decode, got none: the directory holds ${whatIsIn(tensors, config)}`,
  );
}
