/** What stands around a tensor in its checkpoint: biases, experts, the vocabulary. */
import type { TensorHead } from "../tensor.ts";
import { type ModelConfig, vocabularySizesOf } from "./model-config.ts";
import { takeApart, type TensorName } from "./tensor-name.ts";

export class Surroundings {
  readonly #shapes: ReadonlyMap<string, readonly number[]>;
  readonly #vocabularies: ReadonlySet<number>;
  readonly #withExperts = new Set<string>();

  constructor(heads: readonly TensorHead[], config: ModelConfig | undefined) {
    this.#shapes = new Map(heads.map(({ name, shape }) => [name, shape]));
    const named = vocabularySizesOf(config);
    // Without a config, the tables of tokens say how many there are.
    this.#vocabularies =
      named.size > 0 ? named : new Set(heads.flatMap(tokenRows));
    for (const { name } of heads) {
      const at = name.search(/(^|\.)experts(\.|$)/);
      if (at >= 0) this.#withExperts.add(name.slice(0, at));
    }
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

  /** Whether experts stand beside a module: `mlp.gate` and `mlp.experts`. */
  hasExperts({ owner }: TensorName): boolean {
    return this.#withExperts.has(owner.slice(0, owner.lastIndexOf(".")));
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
