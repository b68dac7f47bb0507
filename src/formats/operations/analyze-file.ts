/**
 * What schemes do to the tensors of a file: each piece is quantized and decoded by every scheme as it
 * comes, and compared with what it was. Nothing is written.
 */
import type { Analysis } from "../../api/tensors.ts";
import { AppError } from "../../api/errors.ts";
import { kernels } from "../../kernels/runtime.ts";
import { countMxfp4 } from "../../kernels/mxfp4.ts";
import { compare, mergeMoments, moments } from "../../kernels/statistics.ts";
import {
  addSums,
  figures,
  newTally,
  RULE,
  type Tally,
} from "./analysis-figures.ts";
import { type AnalyzedTensor, analyzedTensors } from "./analyzed-tensors.ts";
import {
  Conversion,
  type OpenSection,
  type Section,
} from "../stream/conversion.ts";
import { loadFloats } from "../dtype.ts";
import type { Input } from "../containers/input.ts";
import {
  loadPiece,
  pack,
  roundingKey,
  sortedPositions,
  unpack,
  withoutPadding,
} from "../blocks/mxfp4.ts";
import {
  checkSize,
  inputBytes,
  pieceCount,
  pieceOf,
  rowsOf,
} from "../blocks/rows.ts";
import type { GgufOutput, Scheme } from "../../api/scheme.ts";
import { dropped } from "../stream/sections.ts";
import type { Selection } from "./selection.ts";

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
  input: Input,
  schemes: readonly NamedScheme[],
  selection: Selection,
  output: GgufOutput,
): Analyzing {
  const { chosen, passedOver, dataBytes } = analyzedTensors(
    input,
    selection,
    output,
  );
  if (chosen.length * schemes.length > MAX_FIGURES) {
    throw new AppError(
      "invalid_option",
      `Expected at most ${MAX_FIGURES} tensors times schemes, got ${chosen.length} times ${schemes.length}; \`include\` fewer`,
    );
  }
  const positions = sortedPositions(chosen);
  const tallies = new Map<AnalyzedTensor, Tally>();
  const sections: OpenSection[] = [];
  const drop = (bytes: number) => sections.push(() => dropped(bytes));
  let end = 0;
  for (const tensor of chosen) {
    for (const { scheme } of schemes)
      checkSize(tensor.name, rowsOf(tensor.shape, scheme.hadamard));
    const position = positions.get(tensor.name)!;
    const tally = newTally(schemes.length);
    tallies.set(tensor, tally);
    drop(tensor.start - end);
    sections.push(() => analyzed(tensor, schemes, position, tally));
    end = tensor.end;
  }
  drop(dataBytes - end);
  const conversion = new Conversion({
    head: new Uint8Array(0),
    dataBytes: 0,
    sections,
  });
  const names = schemes.map(({ name }) => name);
  return { conversion, report: () => report(tallies, names, passedOver) };
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
            const packed = pack(rotated, piece, scheme, key);
            const { elements, scales } = packed;
            const { count } = piece;
            const counts = countMxfp4(
              rotated,
              elements,
              scales,
              count,
              scheme.prescale,
            );
            const y = withoutPadding(unpack(packed, count, scheme), piece);
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
    tensors: [...tallies].map(([{ name, dtype, shape }, tally]) => ({
      name,
      dtype,
      shape: [...shape],
      ...figures(tally, schemes),
    })),
    passedOver,
    total: figures(total, schemes),
    rule: RULE,
  };
}
