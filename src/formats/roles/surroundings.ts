/** A tensor's context in its checkpoint: biases, experts, the vocabulary. */
import type { TensorHead } from "../tensor.ts";
import {
  expertCountsOf,
  type ModelConfig,
  vocabularySizesOf,
} from "./model-config.ts";
import { takeApart, type TensorName, unwrapped } from "./tensor-name.ts";

/** Matches the parent of experts and the expert's number: `mlp` and `.3` in `mlp.experts.3.w1`. */
const EXPERTS = /^(?:(.*)\.)?experts((?:\.\w*\d+)?)(?:\.|$)/;

export class Surroundings {
  readonly #shapes: ReadonlyMap<string, readonly number[]>;
  readonly #vocabularies: ReadonlySet<number>;
  /** Number of experts by parent. */
  readonly #experts = new Map<string, number>();
  readonly #expertCounts: ReadonlySet<number>;

  constructor(heads: readonly TensorHead[], config: ModelConfig | undefined) {
    this.#shapes = new Map(heads.map(({ name, shape }) => [name, shape]));
    const named = vocabularySizesOf(config);
    // Without a config, token tables tell the vocabulary size.
    this.#vocabularies =
      named.size > 0 ? named : new Set(heads.flatMap(tokenRows));
    this.#expertCounts = expertCountsOf(config);
    for (const head of heads) this.#countExperts(head);
  }

  #countExperts({ name, shape }: TensorHead): void {
    const own = unwrapped(name.split(".")).join(".");
    const [, parent = "", numbers] = EXPERTS.exec(own) ?? [];
    if (numbers === undefined) return;
    const number = /\d+/.exec(numbers)?.[0];
    const stacked = shape.length === 3 ? shape[0]! : 0;
    const count = number === undefined ? stacked : Number(number) + 1;
    const known = this.#experts.get(parent) ?? 0;
    this.#experts.set(parent, Math.max(known, count));
  }

  /** The length of the bias beside a module's weight: `bias`, `in_proj_bias`, `down_proj_bias`. */
  biasOf({ owner, leaf }: TensorName): number | undefined {
    const bias = leaf.endsWith("weight")
      ? leaf.replace(/weight$/, "bias")
      : `${leaf}_bias`;
    return this.#shapes.get(owner === "" ? bias : `${owner}.${bias}`)?.at(-1);
  }

  isVocabulary(rows: number): boolean {
    return this.#vocabularies.has(rows);
  }

  /** Whether a module has experts beside it: `mlp.gate` and `mlp.experts`. */
  hasExperts({ parent }: TensorName): boolean {
    return this.#experts.has(parent);
  }

  /** Whether a matrix beside experts, or one called `gate`, has a row or column per expert. */
  isOfEachExpert(
    { parent, module }: TensorName,
    shape: readonly number[],
  ): boolean {
    const known = this.#experts.get(parent);
    const isToldOf = (n: number) =>
      n > 1 && (n === known || this.#expertCounts.has(n));
    if (module === "gate") return shape.some(isToldOf);
    // In a layer that contains the experts directly, attention heads may be as many.
    const isLayer = /(^|\.)\d+$/.test(parent);
    return known !== undefined && !isLayer && shape.some(isToldOf);
  }

  shapeOf(name: string): readonly number[] | undefined {
    return this.#shapes.get(name);
  }
}

function tokenRows({ name, shape }: TensorHead): number[] {
  const { module, leaf } = takeApart(name);
  const tokens =
    /^(embed_tokens|tok(en)?_embed(ding)?s?|word_embeddings?|wte|embed_in|emb|embed|embeddings?|shared)$/;
  return leaf === "weight" && shape.length === 2 && tokens.test(module)
    ? [shape[0]!]
    : [];
}
