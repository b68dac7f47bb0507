/** What quantizing did to each tensor of a directory, added up as its pieces go by. */
import type { Observe } from "../formats/blocks/block-pieces.ts";
import {
  addSums,
  figures,
  newTally,
  type Tally,
} from "../formats/operations/analysis-figures.ts";
import { compare } from "../kernels/statistics.ts";

export type ErrorFigure = {
  /** null where there is no error at all, or no finite value. */
  sqnrDb: number | null;
  maxError: number | null;
};

export class ErrorFigures {
  readonly #tallies = new Map<string, Tally>();

  /** Told of the pieces of one tensor. */
  observer(name: string): Observe {
    const tally = newTally(1);
    this.#tallies.set(name, tally);
    return (x, decoded, count) => {
      tally.elements += count;
      const differences = compare(x, decoded, count);
      // What is clipped, zeroed or lost is for an analysis to count.
      const counts = { clipped: 0, zeroed: 0, lost: 0 };
      addSums(tally.schemes[0]!, { ...differences, ...counts });
    };
  }

  /** Of a tensor that has gone by whole. */
  of(name: string): ErrorFigure {
    const tally = this.#tallies.get(name);
    if (!tally) throw new Error(`Expected ${name} to have been quantized`);
    const { sqnrDb, maxError } = figures(tally, [""]).schemes[0]!;
    return { sqnrDb, maxError };
  }
}
