/** Sums of the quantization error of each tensor of a directory, collected during conversion. */
import type { Observe } from "../formats/blocks/block-pieces.ts";
import {
  addSums,
  figures,
  newTally,
  type Tally,
} from "../formats/operations/analysis-figures.ts";
import { compare } from "../kernels/statistics.ts";

export type ErrorFigure = {
  /** null if there is no error, or no finite value. */
  sqnrDb: number | null;
  maxError: number | null;
};

export class ErrorFigures {
  readonly #tallies = new Map<string, Tally>();

  /** An observer for the pieces of one tensor. */
  observer(name: string): Observe {
    const tally = newTally(1);
    this.#tallies.set(name, tally);
    return (x, decoded, count) => {
      tally.elements += count;
      const differences = compare(x, decoded, count);
      // Clipped, zeroed and lost elements are only counted by an analysis.
      const counts = { clipped: 0, zeroed: 0, lost: 0 };
      addSums(tally.schemes[0]!, { ...differences, ...counts });
    };
  }

  /** The figures of a completely converted tensor. */
  of(name: string): ErrorFigure {
    const tally = this.#tallies.get(name);
    if (!tally) throw new Error(`Expected ${name} to have been quantized`);
    const { sqnrDb, maxError } = figures(tally, [""]).schemes[0]!;
    return { sqnrDb, maxError };
  }
}
