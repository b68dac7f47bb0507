/**
 * What schemes do to the tensors of a file: each piece is quantized and decoded by every scheme as it
 * comes, and compared with what it was. Nothing is written.
 */
import type { Analysis, SchemeFigures, TensorFigures } from "../api/tensors.ts";
import { AppError } from "../api/errors.ts";
import { kernels } from "../kernels/runtime.ts";
import {
  compare,
  type Counts,
  countMxfp4,
  type Differences,
  mergeMoments,
  type Moments,
  moments,
} from "../kernels/statistics.ts";
import { Conversion, type Section } from "./conversion.ts";
import { decibels } from "./decibels.ts";
import { type FloatDtype, loadFloats } from "./dtype.ts";
import { type Input, tensorsOnly } from "./input.ts";
import {
  loadPiece,
  pack,
  roundingKey,
  unpack,
  withoutPadding,
} from "./mxfp4.ts";
import { checkSize, inputBytes } from "./rows.ts";
import { sortedPositions } from "./mxfp4.ts";
import { pieceCount, pieceOf, rowsOf } from "./rows.ts";
import type { TensorRange } from "./tensor.ts";
import type { Scheme } from "./scheme.ts";
import { dropped } from "./sections.ts";
import { isChosen, type Selection } from "./selection.ts";

export type NamedScheme = { name: string; scheme: Scheme };

const RULE =
  "the first scheme whose SQNR is within 0.05 dB of the highest, among those with the fewest NaN";
const RULE_DB = 0.05;
/** Of one report, which is written at once. */
const MAX_FIGURES = 32_768;

type Sums = Differences & Counts;
type Tally = { elements: number; moments: Moments; schemes: Sums[] };

/**
 * `report` is complete once the conversion, which has no output, is through.
 * Errors: `unsupported_dtype`, `unsupported_media_type`, `shape_mismatch`, `invalid_option`
 */
export function planAnalysis(
  input: Input,
  schemes: readonly NamedScheme[],
  selection: Selection,
): { conversion: Conversion; report: () => Analysis } {
  const { tensors } = tensorsOnly(input);
  const chosen = tensors.filter((tensor) => isChosen(tensor, selection));
  if (chosen.length * schemes.length > MAX_FIGURES) {
    throw new AppError(
      "invalid_option",
      `Expected at most ${MAX_FIGURES} tensors times schemes, got ${chosen.length} times ${schemes.length}; \`include\` fewer`,
    );
  }
  const positions = sortedPositions(chosen);
  const tallies = new Map<TensorRange, Tally>();
  const sections = tensors.map((tensor) => {
    const position = positions.get(tensor.name);
    if (position === undefined) return () => dropped(tensor.end - tensor.start);
    for (const { scheme } of schemes)
      checkSize(tensor.name, rowsOf(tensor.shape, scheme.hadamard));
    const tally = newTally(schemes.length);
    tallies.set(tensor, tally);
    const dtype = tensor.dtype as FloatDtype;
    return () => analyzed(tensor.shape, dtype, schemes, position, tally);
  });
  return {
    conversion: new Conversion({
      head: new Uint8Array(0),
      dataBytes: 0,
      sections,
    }),
    report: () => report(tallies, schemes),
  };
}

function analyzed(
  shape: readonly number[],
  dtype: FloatDtype,
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
            add(tally.schemes[i]!, { ...compare(x, y, length), ...counts });
          });
        }
      });
      return [];
    },
  };
}

function newTally(schemes: number): Tally {
  return {
    elements: 0,
    moments: { count: 0, mean: 0, second: 0, third: 0, fourth: 0 },
    schemes: Array.from({ length: schemes }, newSums),
  };
}

function newSums(): Sums {
  return {
    signal: 0,
    noise: 0,
    product: 0,
    power: 0,
    skipped: 0,
    most: 0,
    clipped: 0,
    zeroed: 0,
    lost: 0,
  };
}

function add(sums: Sums, more: Sums): void {
  const most = Math.max(sums.most, more.most);
  for (const key of Object.keys(sums) as (keyof Sums)[]) sums[key] += more[key];
  sums.most = most;
}

function report(
  tallies: ReadonlyMap<TensorRange, Tally>,
  schemes: readonly NamedScheme[],
): Analysis {
  const total = newTally(schemes.length);
  for (const tally of tallies.values()) {
    total.elements += tally.elements;
    total.moments = mergeMoments(total.moments, tally.moments);
    total.schemes.forEach((sums, i) => add(sums, tally.schemes[i]!));
  }
  return {
    tensors: [...tallies].map(([{ name, dtype, shape }, tally]) => ({
      name,
      dtype,
      shape: [...shape],
      ...figures(tally, schemes),
    })),
    total: figures(total, schemes),
    rule: RULE,
  };
}

function figures(
  { elements, moments: m, schemes: sums }: Tally,
  schemes: readonly NamedScheme[],
): TensorFigures {
  const all = sums.map((each, i) =>
    schemeFigures(schemes[i]!.name, each, elements),
  );
  return {
    elements,
    kurtosis: finite((m.count * m.fourth) / (m.second * m.second)),
    schemes: all,
    recommended: recommend(all, sums),
  };
}

function schemeFigures(
  scheme: string,
  sums: Sums,
  elements: number,
): SchemeFigures {
  const { signal, noise, product, power, skipped, most } = sums;
  const counted = elements - skipped;
  const share = (count: number): number =>
    elements > 0 ? count / elements : 0;
  return {
    scheme,
    sqnrDb: signal > 0 && noise > 0 ? decibels(signal / noise) : null,
    mse: finite(noise / counted),
    cosine: finite(product / Math.sqrt(signal * power)),
    maxError: counted > 0 ? most : null,
    clipped: share(sums.clipped),
    zeroed: share(sums.zeroed),
    nan: share(skipped),
  };
}

function recommend(
  all: readonly SchemeFigures[],
  sums: readonly Sums[],
): string | null {
  const fewest = Math.min(...all.map(({ nan }) => nan));
  // No error at all is better than any.
  const score = (i: number): number =>
    sums[i]!.noise === 0 ? Infinity : (all[i]!.sqnrDb ?? -Infinity);
  const candidates = [...all.keys()].filter((i) => all[i]!.nan === fewest);
  const best = Math.max(...candidates.map(score));
  const first = candidates.find((i) => score(i) >= best - RULE_DB);
  return first === undefined || sums[first]!.signal === 0
    ? null
    : all[first]!.scheme;
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
