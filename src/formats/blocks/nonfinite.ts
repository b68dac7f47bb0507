/**
 * Detects values that are or become non-finite: NaN, infinities, overflow of the output type, blocks with a NaN
 * scale. Converting a piece detects cheaply, by the largest magnitude or scale, that there are some, and calls
 * `Lost`; then the piece is searched for their positions.
 */
import { AppError } from "../../api/errors.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { kernels } from "../../kernels/runtime.ts";
import {
  type DecodedDtype,
  dtypeBytes,
  type FloatDtype,
  loadFloats,
} from "../dtype.ts";
import type { Section } from "../stream/conversion.ts";
import { startsOf } from "../stream/piece-starts.ts";

export type NonfiniteValue = {
  tensor: string;
  shape: readonly number[];
  /** Index in the order of the tensor's bytes. */
  element: number;
  /** As in error messages, for example `NaN`. */
  what: string;
};

/** Called for each non-finite value. */
export type Watch = (value: NonfiniteValue) => void;

/** Called during the conversion of a piece that has non-finite values. */
export type Lost = () => void;

/** A `Watch` that throws. Errors: `nonfinite_value`, always */
export function stopAt({
  tensor,
  shape,
  element,
  what,
}: NonfiniteValue): never {
  throw new AppError(
    "nonfinite_value",
    `Expected finite values in tensor "${tensor}", got ${what} at element ${element}, [${indices(element, shape).join(", ")}]; \`nonfinite\` keep lets it pass`,
  );
}

/** The indices of an element in C order. */
function indices(element: number, shape: readonly number[]): number[] {
  const found: number[] = [];
  for (const size of shape.toReversed()) {
    found.unshift(element % size);
    element = Math.floor(element / size);
  }
  return found;
}

/** The float dtypes that a section reads and writes; undefined for blocks. */
export type WatchedTypes =
  | { reads: FloatDtype; writes?: DecodedDtype }
  /** Decodes blocks; `elements` is the number that a piece gives. */
  | { writes: DecodedDtype; elements: (piece: number) => number };

/** The section of `open`, with `watch` called for its non-finite values; without `watch`, nothing is checked. */
export function watched(
  { name, shape }: { name: string; shape: readonly number[] },
  types: WatchedTypes,
  watch: Watch | undefined,
  open: (lost?: Lost) => Section,
): Section {
  if (!watch) return open();
  let isLost = false;
  const section = open(() => (isLost = true));
  const elementsOf =
    "reads" in types
      ? (piece: number) => elementsIn(section.pieceBytes(piece), types.reads)
      : types.elements;
  const startOf = startsOf(elementsOf);
  const { writes } = types;
  const tell = (element: number, what: string) =>
    watch({ tensor: name, shape, element, what });
  return {
    ...section,
    *convert(piece, bytes) {
      let start = startOf(piece);
      const look = (chunk?: Uint8Array): void => {
        if (!isLost) return;
        isLost = false;
        if ("reads" in types) {
          const first = startOf(piece);
          if (
            tellInputs(bytes, types.reads, (i, what) => tell(first + i, what))
          )
            return;
          // A transposed matrix is only output after its last piece.
          if (!writes || !chunk) {
            const [i, most] = largestOf(bytes, types.reads);
            return tell(first + i, `${most}, beyond what it becomes,`);
          }
        }
        tellOutputs(chunk!, writes!, (i, what) => tell(start + i, what));
      };
      for (const chunk of section.convert(piece, bytes)) {
        look(chunk);
        yield chunk;
        if (writes) start += elementsIn(chunk.length, writes);
      }
      look();
    },
  };
}

function elementsIn(bytes: number, dtype: FloatDtype): number {
  return bytes / dtypeBytes(dtype, 1);
}

/** Reports each input that is not finite in f32; returns whether there are any. */
function tellInputs(
  bytes: Uint8Array,
  dtype: FloatDtype,
  tell: (i: number, what: string) => void,
): boolean {
  let isAny = false;
  floatValues(bytes, dtype).forEach((value, i) => {
    if (Number.isFinite(Math.fround(value))) return;
    isAny = true;
    tell(i, Number.isFinite(value) ? `${value}, beyond f32,` : `${value}`);
  });
  return isAny;
}

function tellOutputs(
  bytes: Uint8Array,
  dtype: DecodedDtype,
  tell: (i: number, what: string) => void,
): void {
  floatValues(bytes, dtype).forEach((value, i) => {
    if (Number.isNaN(value)) tell(i, "NaN");
    else if (!Number.isFinite(value))
      tell(i, `a value beyond ${dtype.toLowerCase()}`);
  });
}

function largestOf(
  bytes: Uint8Array,
  dtype: FloatDtype,
): [i: number, value: number] {
  const values = floatValues(bytes, dtype);
  let most = 0;
  for (const [i, value] of values.entries())
    if (Math.abs(value) > Math.abs(values[most]!)) most = i;
  return [most, values[most]!];
}

/** Values as f32; F64 unchanged. */
export function floatValues(
  bytes: Uint8Array,
  dtype: FloatDtype,
): Float32Array | Float64Array {
  const length = elementsIn(bytes.length, dtype);
  if (dtype === "F64") return new Float64Array(bytes.slice().buffer);
  const { arena } = kernels();
  return arena.scope(() => {
    const x = arena.allocF32(length);
    loadFloats(x, dtype, bytes);
    return arena.f32(x, length).slice();
  });
}

/** Scale byte of a NaN block. */
const NAN_SCALE = 255;

type PaddedTensor = {
  name: string;
  shape: readonly number[];
  rows: { padded: number };
};

/** Calls `watch` for each NaN block, with its first element; `firstBlock` is the index of the first of `scales`. */
export function watchScales(
  { name, shape, rows }: PaddedTensor,
  scales: Uint8Array,
  firstBlock: number,
  watch: Watch | undefined,
): void {
  if (!watch) return;
  const padded = [...shape.slice(0, -1), rows.padded];
  for (
    let at = scales.indexOf(NAN_SCALE);
    at >= 0;
    at = scales.indexOf(NAN_SCALE, at + 1)
  ) {
    const element = (firstBlock + at) * BLOCK_SIZE;
    const what = `NaN, scale byte ${NAN_SCALE},`;
    watch({ tensor: name, shape: padded, element, what });
  }
}

/** A section that copies scales and watches them. */
export function watchedScales(
  tensor: PaddedTensor,
  section: Section,
  watch: Watch | undefined,
): Section {
  const startOf = startsOf((piece) => section.pieceBytes(piece));
  return {
    ...section,
    convert(piece, bytes) {
      watchScales(tensor, bytes, startOf(piece), watch);
      return section.convert(piece, bytes);
    },
  };
}
