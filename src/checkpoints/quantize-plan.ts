/**
 * Plans quantizing a directory for a loader: the output files, what is read for each, and the conversion. A tensor's
 * bytes depend on its values, the options and its position among the checkpoint's names; never on how it is split into
 * files.
 */
import { checkConfigSizes } from "./config-sizes.ts";
import { AppError } from "../api/errors.ts";
import type { Scheme, Target } from "../api/scheme.ts";
import { roundingKey } from "../formats/blocks/block-pieces.ts";
import { checkSize, oneRow, rowsOf } from "../formats/blocks/block-rows.ts";
import { type Watch, watched } from "../formats/blocks/nonfinite.ts";
import { watchedCopy } from "../formats/blocks/watched-copy.ts";
import { refloated } from "../formats/blocks/float-sections.ts";
import { quantized } from "../formats/blocks/quantized-sections.ts";
import { notPlain } from "../formats/blocks/scheme.ts";
import { quantizedTurned } from "../formats/blocks/turned-sections.ts";
import {
  foldedBlocks,
  foldedFloats,
  type FoldedTensor,
} from "../formats/folding/folded-sections.ts";
import { foundInstead } from "../formats/operations/nothing-done.ts";
import { writeHead } from "../formats/containers/safetensors-writer.ts";
import type { Dtype, FloatDtype } from "../formats/dtype.ts";
import { Conversion, type OpenSection } from "../formats/stream/conversion.ts";
import { HoldPool } from "../formats/stream/hold-pool.ts";
import { elementCount, type TensorHead } from "../formats/tensor.ts";
import { BLOCK_SIZE } from "../kernels/mx.ts";
import {
  type Checkpoint,
  type CheckpointTensor,
  CONFIG_FILE,
} from "./checkpoint.ts";
import { decideDirectory, type TensorChoices } from "./decide-directory.ts";
import {
  float8Held,
  float8Reads,
  float8Sections,
  type Float8View,
} from "./float8-parts.ts";
import { ErrorFigures } from "./error-figures.ts";
import { quantizedConfig } from "./quantization-config.ts";
import { partsInFiles, type PlannedShard } from "./shards.ts";
import {
  targetHeads,
  type TargetDecision,
  turned,
  LOADED_FORMAT,
} from "./targets.ts";

export type DirectoryChoices = TensorChoices & {
  target: Target;
  scheme: Scheme;
  maxShardBytes: number;
  /** Observes values that are not finite; without it they are not looked for. */
  watch?: Watch | undefined;
  /** Decode every quantized tensor again to measure its errors; doubles the work. */
  withFigures: boolean;
};

export type DirectoryPlan = {
  /** The checkpoint's tensors, and an untied head if a rotation requires it. */
  tensors: readonly CheckpointTensor[];
  /** The tensors that `normsOf` reads. */
  norms: readonly CheckpointTensor[];
  normOffset: 0 | 1;
  shards: readonly PlannedShard[];
  /** Small files: the config, and the index if there are several shards. */
  texts: readonly (readonly [file: string, text: string])[];
  decisions: readonly TargetDecision[];
  /** Errors of the quantized tensors, filled in by the conversions; undefined if not requested. */
  figures: ErrorFigures | undefined;
};

/**
 * Errors: `invalid_option` for a scheme that no loader supports, or layers that must be quantized together;
 * `nothing_to_convert` if no tensor is quantized; those of `decideDirectory`
 */
export function planDirectory(
  checkpoint: Checkpoint,
  choices: DirectoryChoices,
): DirectoryPlan {
  const { target, rotate, selection } = choices;
  const { scheme, maxShardBytes, withFigures, watch } = choices;
  checkPlain(scheme);
  checkConfigSizes(checkpoint);
  const decided = decideDirectory(checkpoint, { target, rotate, selection });
  const { tensors, config, decisions, folded, float8 } = decided;
  const isPacked = decisions.some(({ packed }) => packed);
  if (!isPacked && !folded) {
    const found = foundInstead(tensors, (_, i) => decisions[i]!.reason);
    throw new AppError(
      "nothing_to_convert",
      `Expected a weight that ${target} takes in MXFP4, got ${found}`,
    );
  }
  const written = tensors.map((tensor, place): Part => {
    const decision = decisions[place]!;
    const heads = decision.layout
      ? targetHeads(tensor, decision, decision.layout)
      : [headOf(tensor)];
    return { tensor, place, decision, heads };
  });
  const { files, index } = partsInFiles(
    written,
    maxShardBytes,
    ({ decision }) => decision.packed,
  );
  const figures = withFigures ? new ErrorFigures() : undefined;
  const shards = files.map(({ file, parts, heads }): PlannedShard => {
    return {
      file,
      heads,
      reads: parts.flatMap(({ tensor }) => {
        const own = float8.get(tensor.name);
        return own ? float8Reads(own) : [tensor];
      }),
      groups: parts.map(({ tensor, heads }) => ({ name: tensor.name, heads })),
      conversion: (norms) =>
        conversionOf(parts, heads, scheme, figures, watch, float8, (tensor) =>
          folded?.foldOf(tensor, scheme.seed, norms),
        ),
    };
  });
  const quantizedJson = isPacked
    ? quantizedConfig(target, tensors, decisions, config)
    : config;
  return {
    tensors,
    norms: folded?.norms ?? [],
    normOffset: folded?.normOffset ?? 0,
    shards,
    texts: [
      [CONFIG_FILE, `${JSON.stringify(quantizedJson, null, 2)}\n`],
      ...(index ? [index] : []),
    ],
    decisions,
    figures,
  };
}

type Part = {
  tensor: CheckpointTensor;
  place: number;
  decision: TargetDecision;
  heads: readonly TensorHead<Dtype>[];
};

const headOf = ({ name, dtype, shape }: TensorHead<Dtype>) => ({
  name,
  dtype,
  shape,
});

function conversionOf(
  parts: readonly Part[],
  heads: readonly TensorHead<Dtype>[],
  scheme: Scheme,
  figures: ErrorFigures | undefined,
  watch: Watch | undefined,
  float8: Float8View["float8"],
  foldOf: (tensor: CheckpointTensor) => FoldedTensor | undefined,
): Conversion {
  const pool = new HoldPool();
  const sectionOf = (
    { tensor, place, decision }: Part,
    i: number,
    float = tensor.dtype as FloatDtype,
  ): OpenSection => {
    const { shape } = tensor;
    const folded = foldOf(tensor);
    if (!decision.packed) {
      if (float8.has(tensor.name)) {
        const types = { reads: float, writes: "BF16" } as const;
        return () =>
          watched(tensor, types, watch, (lost) =>
            refloated(oneRow(shape), float, "BF16", lost),
          );
      }
      if (!folded) return () => watchedCopy(tensor, watch);
      const types = { reads: folded.dtype, writes: folded.dtype };
      return () =>
        watched(tensor, types, watch, (lost) => foldedFloats(folded, lost));
    }
    const rows = rowsOf(turned(shape, decision), 0);
    checkSize(tensor.name, rows);
    const key = roundingKey(scheme.seed, place);
    return () =>
      watched(tensor, { reads: float }, watch, (lost) => {
        const told = { observe: figures?.observer(tensor.name), lost };
        if (folded) return foldedBlocks(folded, scheme, key, pool, 2 * i, told);
        return decision.role === "linear-in-out"
          ? quantizedTurned(shape, float, scheme, key, pool, 2 * i, told)
          : quantized(rows, float, scheme, key, pool, 2 * i, told);
      });
  };
  const sections = parts.flatMap((part, i): OpenSection[] => {
    const own = float8.get(part.tensor.name);
    if (own === undefined) return [sectionOf(part, i)];
    const inner = sectionOf(part, i, "F32");
    return float8Sections(own, pool, 2 * parts.length + i, inner);
  });
  // As transformers writes it, and requires.
  const metadata = new Map([["format", "pt"]]);
  const heldBytes = Math.max(
    0,
    ...parts.map((part) => {
      const own = float8.get(part.tensor.name);
      return heldFor(part) + (own ? float8Held(own) : 0);
    }),
  );
  const head = writeHead(heads, metadata);
  return new Conversion({ ...head, sections, pool, heldBytes });
}

/** A quantized tensor's scales are held; for one that is transposed, also a matrix's elements. */
function heldFor({ tensor: { shape }, decision }: Part): number {
  if (!decision.packed) return 0;
  const scales = elementCount(shape) / BLOCK_SIZE;
  const matrix = elementCount(shape.slice(-2)) / 2;
  return scales + (decision.role === "linear-in-out" ? matrix : 0);
}

function checkPlain(scheme: Scheme): void {
  if (scheme.format !== LOADED_FORMAT)
    throw new AppError(
      "invalid_option",
      `Expected format mxfp4 for a loader, got "${scheme.format}"`,
    );
  const [reason] = notPlain(scheme, false);
  if (reason === undefined) return;
  throw new AppError(
    "invalid_option",
    `Expected prescale=1 and hadamard=0 for a loader, which decodes plainly; ${reason}`,
  );
}
