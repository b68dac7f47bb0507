/** How a plan handles non-finite values (see nonfinite.ts). */
import type { NonfiniteChoice } from "../../api/options.ts";
import {
  type NonfiniteValue,
  stopAt,
  type Watch,
} from "../blocks/nonfinite.ts";

export type ValueWatch = {
  /** Called for each; if undefined, nothing is checked. */
  watch?: Watch | undefined;
  /** The output's metadata entry about kept values. */
  record?: string | undefined;
};

const STOPPING: ValueWatch = { watch: stopAt };
/** For streaming: the header is written before the data is known. */
const UNCHECKED: ValueWatch = { record: "unchecked" };

/** `kept` collects the values that are kept. */
export function valuesOf(
  nonfinite: NonfiniteChoice = "stop",
  kept?: KeptValues,
): ValueWatch {
  if (nonfinite === "stop") return STOPPING;
  return { ...UNCHECKED, watch: kept?.watch };
}

/** Metadata for an output without a quantization record. */
export function keptRecord(record: string | undefined): [string, string][] {
  return record === undefined ? [] : [["nonfinite", record]];
}

/** Counts non-finite values, and the first one, by tensor. */
export class KeptValues {
  readonly #byTensor = new Map<string, { values: number; first: number }>();

  readonly watch = ({ tensor, element }: NonfiniteValue): void => {
    const found = this.#byTensor.get(tensor);
    if (found) found.values++;
    else this.#byTensor.set(tensor, { values: 1, first: element });
  };

  get tensors(): ReadonlyMap<string, { values: number; first: number }> {
    return this.#byTensor;
  }

  /** As JSON; undefined if there are none. */
  get record(): string | undefined {
    if (this.#byTensor.size === 0) return undefined;
    return JSON.stringify(Object.fromEntries(this.#byTensor));
  }
}
