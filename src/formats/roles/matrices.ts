/**
 * Whether a matrix with a bias is [out, in], as torch's Linear has it, or [in, out], as GPT-2's Conv1D:
 * the bias has an element for each output.
 */
import type { TensorHead } from "../tensor.ts";
import type { Surroundings } from "./surroundings.ts";
import { takeApart, type TensorName, partWords } from "./tensor-name.ts";

type Votes = { linear: number; inOut: number };

export class MatrixOrder {
  /** By place: what the biases of those that are not square say. */
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

  /** The order that its own bias tells, or, where it is square, the biases of its kind nearest to it. */
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

/** The module itself, what holds it, and those named alike: `c_proj` and `c_attn` are of one family. */
function placesOf({ owner, module }: TensorName): string[] {
  const parent = owner.slice(0, owner.lastIndexOf("."));
  return [owner, parent, `${partWords(module)[0]}_*`];
}
