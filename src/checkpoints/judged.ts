/** The tensors of a directory for an analysis: those that would be quantized, and how they are read. */
import { QUANTIZE_OPTIONS } from "../api/options.ts";
import type { Target } from "../api/scheme.ts";
import type { AnalyzeModelOptions } from "../api/tensors.ts";
import { withDefaults } from "../api/option-kinds.ts";
import { SELECTION_OPTIONS } from "../api/options.ts";
import { rowsOf } from "../formats/blocks/block-rows.ts";
import {
  converted,
  type PieceWriter,
} from "../formats/blocks/quantized-sections.ts";
import { convertedTurned } from "../formats/blocks/turned-sections.ts";
import type { FloatDtype } from "../formats/dtype.ts";
import { foldedWritten } from "../formats/folding/folded-sections.ts";
import {
  isNamed,
  type Selection,
} from "../formats/operations/name-patterns.ts";
import type { Section, OpenSection } from "../formats/stream/conversion.ts";
import type { HoldPool } from "../formats/stream/hold-pool.ts";
import type { TensorHead } from "../formats/tensor.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { DecidedDirectory } from "./decide-directory.ts";
import type { Norms } from "./fold.ts";
import { float8Held, float8Reads, float8Sections } from "./float8-parts.ts";
import { decideGgufDirectory } from "./gguf/decide-gguf.ts";
import { heldOf, writtenBy } from "./gguf/gguf-sections.ts";
import { storedDtype } from "./gguf/made-tensors.ts";
import { quantizedConfig } from "./quantization-config.ts";
import type { TensorRead } from "./tensor-reads.ts";

/** A selected tensor, with its dtype in the files. */
export type AskedTensor = TensorHead & {
  /** Names of the checkpoint's tensors of which it is made. */
  sources: readonly string[];
  /** Its position among all names, which seeds its random numbers. */
  place: number;
  reason: string;
  /** Undefined for a tensor that is kept. */
  judged?: {
    reads: readonly TensorRead[];
    /** `index`: number of the tensor among those analyzed, which determines its holds of `pool`. */
    sections: (
      writer: PieceWriter,
      pool: HoldPool,
      index: number,
      norms: Norms,
    ) => OpenSection[];
    heldBytes: number;
  };
};

/**
 * For a directory of safetensors; without `target`, the tensors that are quantized by their roles, for any loader.
 * `seed`: for the signs of a rotation.
 */
export function targetCandidates(
  decided: DecidedDirectory,
  target: Target | undefined,
  selection: Selection,
  seed: number,
): AskedTensor[] {
  const { tensors, decisions, float8, config, folded } = decided;
  if (target) quantizedConfig(target, tensors, decisions, config);
  return tensors.flatMap((tensor, place): AskedTensor[] => {
    const { name, shape } = tensor;
    const { packed, role, reason } = decisions[place]!;
    if (!isNamed(name, selection)) return [];
    const fp8 = float8.get(name);
    const { dtype } = fp8?.weight ?? tensor;
    const own = { name, dtype, shape, sources: [name], place, reason };
    if (!packed) return [own];
    const float = (fp8 ? "F32" : tensor.dtype) as FloatDtype;
    const isTurned = role === "linear-in-out";
    const judged: AskedTensor["judged"] = {
      reads: fp8 ? float8Reads(fp8) : [tensor],
      heldBytes: fp8 ? float8Held(fp8) : 0,
      sections(writer, pool, index, norms) {
        const rotated = folded?.foldOf(tensor, seed, norms);
        const open = (): Section => {
          if (rotated) return foldedWritten(rotated, writer);
          return isTurned
            ? convertedTurned(shape, float, writer, pool, 3 * index)
            : converted(rowsOf(shape, 0), float, writer);
        };
        return fp8 ? float8Sections(fp8, pool, 3 * index + 1, open) : [open];
      },
    };
    return [{ ...own, judged }];
  });
}

/** For the GGUF that would be made of it. */
export function ggufCandidates(
  checkpoint: Checkpoint,
  options: AnalyzeModelOptions,
): AskedTensor[] {
  const { tensors } = decideGgufDirectory(checkpoint, {
    selection: withDefaults(SELECTION_OPTIONS, options),
    output: options.outputType ?? QUANTIZE_OPTIONS.outputType.default,
    types: [],
  });
  return tensors.flatMap((tensor, place): AskedTensor[] => {
    const { name, shape, sources, becomes } = tensor;
    const dtype = storedDtype(tensor);
    if (tensor.reason === "not asked for") return [];
    const reason =
      becomes === "Q8_0" ? `${tensor.reason}, becomes Q8_0` : tensor.reason;
    const own = { name, dtype, shape, sources, place, reason };
    if (becomes !== "MXFP4" || dtype === "MXFP4") return [own];
    const judged: AskedTensor["judged"] = {
      reads: tensor.reads.flat(),
      heldBytes: heldOf(tensor),
      sections: (writer, pool, index) =>
        writtenBy(tensor, writer, pool, 3 * index),
    };
    return [{ ...own, judged }];
  });
}
