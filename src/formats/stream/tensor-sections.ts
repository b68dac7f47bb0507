/** Sections of a conversion that quantizing, decoding and rotating files share. */
import type { HoldPool } from "./hold-pool.ts";
import type { OpenSection, Section } from "./conversion.ts";
import type { TensorHead, TensorRange } from "../tensor.ts";

const COPY_BYTES = 256 * 1024;

/** Bytes as they came. */
export function copied(bytes: number): Section {
  return cut(bytes, (_, piece) => [piece]);
}

/** Bytes that nobody needs. */
export function dropped(bytes: number): Section {
  return cut(bytes, () => []);
}

/** Bytes that a later section uses. */
export function kept(bytes: number, pool: HoldPool, hold: number): Section {
  return cut(bytes, (start, piece) => {
    pool.bytes(hold, bytes).set(piece, start);
    return [];
  });
}

function cut(
  bytes: number,
  convert: (start: number, piece: Uint8Array) => Uint8Array[],
): Section {
  return {
    pieces: Math.ceil(bytes / COPY_BYTES),
    pieceBytes: (piece) => Math.min(COPY_BYTES, bytes - piece * COPY_BYTES),
    convert: (piece, input) => convert(piece * COPY_BYTES, input),
  };
}

/** A section, how many bytes it takes, and the tensors that it writes, in their order. */
export type Written = {
  bytes: number;
  open: OpenSection;
  heads: readonly TensorHead[];
};

/** A tensor as it came. */
export function copiedTensor(tensor: TensorRange): Written {
  const bytes = tensor.end - tensor.start;
  return { bytes, open: () => copied(bytes), heads: [tensor] };
}

/** A tensor that nobody needs. */
export function droppedTensor({ start, end }: TensorRange): Written {
  return { bytes: end - start, open: () => dropped(end - start), heads: [] };
}

/** A section with bytes before its own. */
export function after(bytes: Uint8Array, section: Section): Section {
  return {
    ...section,
    *convert(piece, input) {
      if (piece === 0) yield bytes;
      yield* section.convert(piece, input);
    },
  };
}

/** A section with bytes behind its own. */
export function before(bytes: Uint8Array, section: Section): Section {
  return {
    ...section,
    *convert(piece, input) {
      yield* section.convert(piece, input);
      if (piece === section.pieces - 1) yield bytes;
    },
  };
}
