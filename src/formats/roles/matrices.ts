/**
 * Whether a matrix with a bias is stored [out, in] (torch's Linear) or [in, out] (GPT-2's Conv1D): the bias has one
 * element per output.
 */
import type { TensorHead } from "../tensor.ts";
import type { Surroundings } from "./surroundings.ts";
import { takeApart, type TensorName, partWords } from "./tensor-name.ts";

type Votes = { linear: number; inOut: number };

export class MatrixOrder {
  /** By location: how many non-square matrices are in each order. */
  readonly #votes = new Map<string, Votes>();
  readonly #around: Surroundings;

  constructor(heads: readonly TensorHead[], around: Surroundings) {
    this.#around = around;
    for (const { name, shape } of heads) {
      if (shape.length !== 2 || !name.endsWith(".weight")) continue;
      const taken = takeApart(name);
      const bias = around.biasOf(taken);
      const [rows, columns] = shape as [number, number];
      if (rows === columns || (bias !== rows && bias !== columns)) continue;
      for (const place of placesOf(taken)) {
        const votes = this.#votes.get(place) ?? { linear: 0, inOut: 0 };
        votes[bias === rows ? "linear" : "inOut"]++;
        this.#votes.set(place, votes);
      }
    }
  }

  /** The order given by its own bias, or, if it is square, by the nearest matrices of its kind. */
  roleOf(name: TensorName): "linear" | "linear-in-out" {
    // Every Conv1D has a bias.
    if (this.#around.biasOf(name) === undefined) return "linear";
    for (const place of placesOf(name)) {
      const votes = this.#votes.get(place);
      if (!votes || votes.linear === votes.inOut) continue;
      return votes.inOut > votes.linear ? "linear-in-out" : "linear";
    }
    return "linear";
  }
}

/** The module itself, its parent, and modules with the same first word, such as `c_proj` and `c_attn`. */
function placesOf({ owner, module }: TensorName): string[] {
  const parent = owner.slice(0, owner.lastIndexOf("."));
  return [owner, parent, `${partWords(module)[0]}_*`];
}
