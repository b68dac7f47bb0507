/** The tensors of a directory that an analysis looks at: those that quantizing would pack, and how they are read. */
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

/** A tensor that is asked for, of the dtype that the files have. */
export type AskedTensor = TensorHead & {
  /** The names of the checkpoint's that it is made of. */
  sources: readonly string[];
  /** Among all names, which its noise goes by. */
  place: number;
  reason: string;
  /** Undefined of what stays. */
  judged?: {
    reads: readonly TensorRead[];
    /** `index` is the judged one's number, of which the holds of `pool` follow. */
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
 * Of a directory of safetensors that was decided: of `target` undefined what roles pack, whoever takes it. `seed` is
 * of the signs of a rotation.
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

/** Of the GGUF that would be made of it. */
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
