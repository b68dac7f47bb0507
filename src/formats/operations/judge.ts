/**
 * Measures the effect of schemes: each piece is quantized and decoded with every scheme, and compared with the input.
 * To a conversion it is a writer of pieces without output.
 */
import type { Scheme } from "../../api/scheme.ts";
import { kernels } from "../../kernels/runtime.ts";
import { compare, mergeMoments, moments } from "../../kernels/statistics.ts";
import { BLOCK_FORMATS } from "../blocks/block-formats.ts";
import {
  packBlocks,
  roundingKey,
  unpackBlocks,
  withoutPadding,
} from "../blocks/block-pieces.ts";
import type { PieceWriter } from "../blocks/quantized-sections.ts";
import type { HoldPool } from "../stream/hold-pool.ts";
import {
  addSums,
  newTally,
  readTally,
  type Tally,
  tallyNumbers,
  writeTally,
} from "./analysis-figures.ts";

export type NamedScheme = { name: string; scheme: Scheme };

const NOTHING = new Uint8Array(0);

/** The sums of `tensors` tensors are held in `pool`, so that a saved conversion includes them. */
export class Judge {
  readonly schemes: readonly NamedScheme[];
  readonly #pool: HoldPool;
  readonly #hold: number;
  /** Bytes of all sums. */
  readonly heldBytes: number;

  constructor(
    schemes: readonly NamedScheme[],
    tensors: number,
    pool: HoldPool,
    hold: number,
  ) {
    this.schemes = schemes;
    this.heldBytes = 8 * tensors * tallyNumbers(schemes.length);
    this.#pool = pool;
    this.#hold = hold;
    pool.bytes(hold, this.heldBytes);
  }

  /** A writer for the pieces of tensor number `index`, with the noise of `position`. */
  writer(index: number, position: number): PieceWriter {
    const isNoisy = this.schemes.some(
      ({ scheme }) => scheme.rounding === "stochastic",
    );
    return {
      blockBytes: 0,
      isNoisy,
      write: (x, piece) => {
        const { arena } = kernels();
        const { count } = piece;
        const length = piece.rows * piece.real;
        const tally = this.tally(index);
        arena.scope(() => {
          let original = x;
          if (length < count) {
            original = arena.allocF32(count);
            arena.f32(original, count).set(arena.f32(x, count));
            withoutPadding(original, piece);
          }
          tally.elements += length;
          tally.moments = mergeMoments(
            tally.moments,
            moments(original, length),
          );
          for (const [i, { scheme }] of this.schemes.entries()) {
            arena.scope(() => {
              let rotated = x;
              if (scheme.hadamard > 0) {
                rotated = arena.allocF32(count);
                arena.f32(rotated, count).set(arena.f32(x, count));
              }
              const key = roundingKey(scheme.seed, position);
              const packed = packBlocks(rotated, piece, scheme, key);
              const format = BLOCK_FORMATS[scheme.format];
              const counts = format.count(
                rotated,
                packed,
                count,
                scheme.prescale,
              );
              const decoded = unpackBlocks(packed, count, format, scheme);
              const y = withoutPadding(decoded, piece);
              addSums(tally.schemes[i]!, {
                ...compare(original, y, length),
                ...counts,
              });
            });
          }
        });
        writeTally(this.#numbers(index), tally);
        return NOTHING;
      },
    };
  }

  tally(index: number): Tally {
    return readTally(this.#numbers(index), this.schemes.length);
  }

  /** The sums over several tensors. */
  sum(indices: Iterable<number>): Tally {
    const total = newTally(this.schemes.length);
    for (const index of indices) {
      const tally = this.tally(index);
      total.elements += tally.elements;
      total.moments = mergeMoments(total.moments, tally.moments);
      total.schemes.forEach((sums, i) => addSums(sums, tally.schemes[i]!));
    }
    return total;
  }

  #numbers(index: number): Float64Array {
    const { buffer } = this.#pool.bytes(this.#hold, this.heldBytes);
    const each = tallyNumbers(this.schemes.length);
    return new Float64Array(buffer, 8 * index * each, each);
  }
}
