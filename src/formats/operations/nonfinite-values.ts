/** What a plan does about values that are not finite: nonfinite.ts hears them. */
import type { NonfiniteChoice } from "../../api/options.ts";
import {
  type NonfiniteValue,
  stopAt,
  type Watch,
} from "../blocks/nonfinite.ts";

export type ValueWatch = {
  /** Told of each; without it none is looked for. */
  watch?: Watch | undefined;
  /** What the metadata of the output says of those that are kept. */
  record?: string | undefined;
};

const STOPPING: ValueWatch = { watch: stopAt };
/** In one pass: what is in the data is not known when the head is written. */
const UNCHECKED: ValueWatch = { record: "unchecked" };

/** `kept` is told of what is kept. */
export function valuesOf(
  nonfinite: NonfiniteChoice = "stop",
  kept?: KeptValues,
): ValueWatch {
  if (nonfinite === "stop") return STOPPING;
  return { ...UNCHECKED, watch: kept?.watch };
}

/** Of an output that has no record of how it was quantized. */
export function keptRecord(record: string | undefined): [string, string][] {
  return record === undefined ? [] : [["nonfinite", record]];
}

/** Of each tensor, how many there are, and which is the first. */
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

  /** As JSON; undefined where there are none. */
  get record(): string | undefined {
    if (this.#byTensor.size === 0) return undefined;
    return JSON.stringify(Object.fromEntries(this.#byTensor));
  }
}
