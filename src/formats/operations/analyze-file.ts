/**
 * What schemes do to the tensors of a file: each piece is quantized and decoded by every scheme as it
 * comes, and compared with what it was. Nothing is written.
 */
import type { Scheme } from "../../api/scheme.ts";
import type { Analysis } from "../../api/tensors.ts";
import { AppError } from "../../api/errors.ts";
import { kernels } from "../../kernels/runtime.ts";
import { compare, mergeMoments, moments } from "../../kernels/statistics.ts";
import { BLOCK_FORMATS, checkScheme } from "../blocks/block-formats.ts";
import {
  loadPiece,
  packBlocks,
  roundingKey,
  sortedPositions,
  unpackBlocks,
  withoutPadding,
} from "../blocks/block-pieces.ts";
import {
  checkSize,
  inputBytes,
  pieceCount,
  pieceOf,
  rowsOf,
} from "../blocks/block-rows.ts";
import { type FloatView, floatView } from "../blocks/float8-file.ts";
import type { TensorFile } from "../containers/container.ts";
import { type FloatDtype, loadFloats } from "../dtype.ts";
import {
  Conversion,
  type OpenSection,
  type Section,
} from "../stream/conversion.ts";
import { HoldPool } from "../stream/hold-pool.ts";
import {
  dropped,
  droppedTensor,
  type Written,
} from "../stream/tensor-sections.ts";
import type { TensorRange } from "../tensor.ts";
import {
  addSums,
  figures,
  newTally,
  RULE,
  type Tally,
} from "./analysis-figures.ts";
import { checkPatternsMatch } from "./nothing-done.ts";
import {
  checkSources,
  type TensorChoice,
  decide,
  rolesOf,
} from "./selection-rules.ts";

export type NamedScheme = { name: string; scheme: Scheme };

/** `report` is complete once the conversion, which has no output, is through. */
export type Analyzing = { conversion: Conversion; report: () => Analysis };

/** Of one report, which is written at once. */
const MAX_FIGURES = 32_768;

/**
 * The tensors that quantizing would change, by each scheme; of a GGUF too, by schemes that its readers
 * would not undo.
 * Errors: `shape_mismatch`, `invalid_option`
 */
export function planAnalysis(
  file: TensorFile,
  schemes: readonly NamedScheme[],
  choice: TensorChoice,
): Analyzing {
  for (const { scheme } of schemes) checkScheme(scheme);
  checkPatternsMatch(file.tensors, choice);
  checkSources(file, choice);
  const view = floatView(file);
  const { chosen, passedOver } = analyzedTensors(view, choice);
  if (chosen.length * schemes.length > MAX_FIGURES) {
    throw new AppError(
      "invalid_option",
      `Expected at most ${MAX_FIGURES} tensors times schemes, got ${chosen.length} times ${schemes.length}; \`include\` fewer`,
    );
  }
  const positions = sortedPositions(file.tensors);
  const tallies = new Map<AnalyzedTensor, Tally>();
  const byTensor = new Map<TensorRange, Written>();
  for (const tensor of chosen) {
    for (const { scheme } of schemes)
      checkSize(tensor.name, rowsOf(tensor.shape, scheme.hadamard));
    const position = positions.get(tensor.name)!;
    const tally = newTally(schemes.length);
    tallies.set(tensor, tally);
    byTensor.set(tensor, {
      ...droppedTensor(tensor),
      open: () => analyzed(tensor, schemes, position, tally),
    });
  }
  const pool = new HoldPool();
  const { tensors, heldBytes } = view.weave(
    view.file.tensors.map((tensor) => byTensor.get(tensor)),
    pool,
    droppedTensor,
  );
  const conversion = new Conversion({
    head: new Uint8Array(0),
    dataBytes: 0,
    sections: withGaps(file, tensors),
    pool,
    heldBytes,
  });
  const names = schemes.map(({ name }) => name);
  return { conversion, report: () => report(tallies, view, names, passedOver) };
}

/** All of a file's data: its tensors, and what lies between them. */
function withGaps(
  { tensors, dataBytes }: TensorFile,
  written: readonly Written[],
): OpenSection[] {
  const sections: OpenSection[] = [];
  let taken = 0;
  for (const [i, { start, end }] of tensors.entries()) {
    const unused = start - taken;
    if (unused > 0) sections.push(() => dropped(unused));
    sections.push(written[i]!.open);
    taken = end;
  }
  sections.push(() => dropped(dataBytes - taken));
  return sections;
}

/** One to look at. */
type AnalyzedTensor = TensorRange<FloatDtype>;

/** Those that quantizing would change, in the order of their bytes, and the others that are named. */
function analyzedTensors(
  { file, stored }: FloatView,
  choice: TensorChoice,
): { chosen: AnalyzedTensor[]; passedOver: Analysis["passedOver"] } {
  const chosen: AnalyzedTensor[] = [];
  const passedOver: Analysis["passedOver"] = [];
  const byRole = { ...choice, roles: rolesOf(file) };
  for (const tensor of file.tensors) {
    const { name, dtype, shape } = stored(tensor);
    const decision = decide(file, tensor, byRole);
    if (decision === undefined) continue;
    const { becomes, reason: why } = decision;
    if (becomes === "blocks") {
      chosen.push(tensor as AnalyzedTensor);
    } else {
      const reason = becomes === "q8_0" ? `${why}, becomes Q8_0` : why;
      passedOver.push({ name, dtype, shape, reason });
    }
  }
  return { chosen, passedOver };
}

function analyzed(
  { shape, dtype }: AnalyzedTensor,
  schemes: readonly NamedScheme[],
  position: number,
  tally: Tally,
): Section {
  // One cut for all schemes: the longest segment's padding is whole blocks and segments of each.
  const segmentLength = Math.max(
    ...schemes.map((each) => each.scheme.hadamard),
  );
  const rows = rowsOf(shape, segmentLength);
  const { arena } = kernels();
  return {
    pieces: pieceCount(rows),
    pieceBytes: (index) => inputBytes(rows, index, dtype),
    convert(index, bytes) {
      const piece = pieceOf(rows, index);
      const length = piece.rows * piece.real;
      arena.scope(() => {
        const x = arena.allocF32(length);
        loadFloats(x, dtype, bytes);
        tally.elements += length;
        tally.moments = mergeMoments(tally.moments, moments(x, length));
        for (const [i, { scheme }] of schemes.entries()) {
          arena.scope(() => {
            const rotated = loadPiece(bytes, dtype, piece);
            const key = roundingKey(scheme.seed, position);
            const packed = packBlocks(rotated, piece, scheme, key);
            const { count } = piece;
            const format = BLOCK_FORMATS[scheme.format];
            const counts = format.count(
              rotated,
              packed,
              count,
              scheme.prescale,
            );
            const decoded = unpackBlocks(packed, count, format, scheme);
            const y = withoutPadding(decoded, piece);
            addSums(tally.schemes[i]!, { ...compare(x, y, length), ...counts });
          });
        }
      });
      return [];
    },
  };
}

function report(
  tallies: ReadonlyMap<AnalyzedTensor, Tally>,
  { stored }: FloatView,
  schemes: readonly string[],
  passedOver: Analysis["passedOver"],
): Analysis {
  const total = newTally(schemes.length);
  for (const tally of tallies.values()) {
    total.elements += tally.elements;
    total.moments = mergeMoments(total.moments, tally.moments);
    total.schemes.forEach((sums, i) => addSums(sums, tally.schemes[i]!));
  }
  return {
    tensors: [...tallies].map(([tensor, tally]) => ({
      name: tensor.name,
      dtype: stored(tensor).dtype,
      shape: [...tensor.shape],
      ...figures(tally, schemes),
    })),
    passedOver,
    total: figures(total, schemes),
    rule: RULE,
  };
}
