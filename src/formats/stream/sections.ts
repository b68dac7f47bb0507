/** Sections of a conversion that quantizing, decoding and rotating files share. */
import { DTYPE_BITS, dtypeBytes } from "../dtype.ts";
import type { HoldPool } from "./hold-pool.ts";
import type { OpenSection, Section } from "./conversion.ts";
import { elementCount, type TensorHead, type TensorRange } from "../tensor.ts";

const COPY_BYTES = 256 * 1024;
/** Tensors that only move the next one to a multiple of its width. Readers may drop them. */
export const FILLER_PREFIX = "mxfp4.filler.";

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

/** A tensor that the output does not have. */
export function droppedTensor({ start, end }: TensorRange): Written {
  return { bytes: end - start, open: () => dropped(end - start), heads: [] };
}

/**
 * The tensors of a file in the order of `parts`. Some readers map tensors in place and need them at
 * multiples of their width; a file sorted by width has them there already, and in others a filler of
 * less than 8 bytes comes before.
 */
export function arrange(parts: Iterable<Written>): {
  heads: TensorHead[];
  sections: OpenSection[];
} {
  const heads: TensorHead[] = [];
  const sections: OpenSection[] = [];
  let position = 0;
  let fillers = 0;
  for (const { bytes, open, heads: own } of parts) {
    const width = Math.max(1, ...own.map(({ dtype }) => DTYPE_BITS[dtype] / 8));
    const missing = bytes === 0 ? 0 : -position & (width - 1);
    if (missing > 0) {
      const name = `${FILLER_PREFIX}${fillers++}`;
      heads.push({ name, dtype: "U8", shape: [missing] });
      sections.push(() => after(new Uint8Array(missing), open()));
    } else {
      sections.push(open);
    }
    heads.push(...own);
    position += missing;
    for (const { dtype, shape } of own)
      position += dtypeBytes(dtype, elementCount(shape));
    // Positions matter modulo 8 only, and may pass what bit operators take.
    position %= 8;
  }
  return { heads, sections };
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
