/**
 * Plans folding a rotation into a model's weights without changing what it computes.
 *
 * If all layers read the residual stream through RMS norms and add to it, only the norms' weights depend on the basis
 * of the stream. With these folded into the matrices that follow, each vector x of the stream may become R · x, R
 * orthogonal: token tables store R · x, matrices that write become R · W, and matrices that read W · Rᵀ. Within
 * attention the same holds between `v_proj` and `o_proj`, per head. It does not hold through an activation function,
 * so the input of `down_proj` is not rotated.
 *
 * R is block-diagonal, the random Hadamard transform of files, so rows lose their outliers before they are quantized,
 * and plain readers need not know.
 */
import { AppError } from "../../api/errors.ts";
import type { SegmentLength } from "../../api/scheme.ts";
import type { ModelConfig } from "../roles/model-config.ts";
import type { TensorHead } from "../tensor.ts";

/** Segment length for the residual stream: that of an MXFP4 block. */
const STREAM_SEGMENT = 32;

/** The changes to one tensor; undefined ones do not apply. */
export type Fold = {
  /** Name of the norm weight that is multiplied into the columns. */
  norm?: string;
  /** Segment length in which each row is rotated: the axis that the layer reads, or the vector itself. */
  columns?: SegmentLength;
  /** Segment length in which each column is rotated: the axis that the layer writes. */
  rows?: SegmentLength;
  /** For a norm weight that was folded into others: the value with which it multiplies by 1. */
  becomes?: 0 | 1;
};

export type FoldPlan = {
  /** By tensor name; unchanged tensors have no entry. */
  folds: ReadonlyMap<string, Fold>;
  /** A separate output head, if it was tied to the token table: `source` changed by `fold`. */
  head?: { name: string; source: string; fold: Fold };
  /** Added to a norm weight before it multiplies: 1 for Gemma, which stores weights minus 1. */
  normOffset: 0 | 1;
  /** The config.json of the folded model. */
  config: ModelConfig;
};

type Stream = {
  segment: SegmentLength;
  head: SegmentLength | undefined;
  normOffset: 0 | 1;
};
type Rule = readonly [
  name: RegExp,
  fold: (owner: string, stream: Stream) => Fold,
];

const ATTENTION_NORM = "input_layernorm.weight";
const MLP_NORM = "post_attention_layernorm.weight";

const reads =
  (norm: string) =>
  (owner: string, { segment }: Stream): Fold => ({
    norm: `${owner}${norm}`,
    columns: segment,
  });
const writes = (_: string, { segment }: Stream): Fold => ({ rows: segment });
const isVector = (_: string, { segment }: Stream): Fold => ({
  columns: segment,
});
const isTaken = (_: string, { normOffset }: Stream): Fold => ({
  becomes: normOffset === 1 ? 0 : 1,
});
const stays = (): Fold => ({});

const MLP = String.raw`(?:mlp|block_sparse_moe)`;
const EXPERT = String.raw`(?:experts\.\d+|shared_experts?)`;

/** Patterns of names within a layer; a pattern's first group is the owner, or empty. */
const LAYER_RULES: readonly Rule[] = [
  [/^input_layernorm\.weight$/, isTaken],
  [/^post_attention_layernorm\.weight$/, isTaken],
  [/^self_attn\.(?:q|k|qkv)_proj\.weight$/, reads(ATTENTION_NORM)],
  [/^self_attn\.(?:q|k|qkv)_proj\.bias$/, stays],
  [/^self_attn\.[qk]_norm\.weight$/, stays],
  [
    /^self_attn\.v_proj\.weight$/,
    (owner, stream) => ({
      ...reads(ATTENTION_NORM)(owner, stream),
      ...(stream.head && { rows: stream.head }),
    }),
  ],
  [
    /^self_attn\.v_proj\.bias$/,
    (_, { head }) => (head ? { columns: head } : {}),
  ],
  [
    /^self_attn\.o_proj\.weight$/,
    (_, { segment, head }) => ({
      rows: segment,
      ...(head && { columns: head }),
    }),
  ],
  [/^self_attn\.o_proj\.bias$/, isVector],
  [
    new RegExp(
      `^${MLP}\\.(?:${EXPERT}\\.)?(?:gate|up|gate_up|w1|w3)(?:_proj)?\\.weight$`,
    ),
    reads(MLP_NORM),
  ],
  [
    new RegExp(
      `^${MLP}\\.(?:${EXPERT}\\.)?(?:gate|up|gate_up|w1|w3)(?:_proj)?\\.bias$`,
    ),
    stays,
  ],
  [new RegExp(`^${MLP}\\.shared_experts?_gate\\.weight$`), reads(MLP_NORM)],
  [
    new RegExp(`^${MLP}\\.(?:${EXPERT}\\.)?(?:down|w2)(?:_proj)?\\.weight$`),
    writes,
  ],
  [
    new RegExp(`^${MLP}\\.(?:${EXPERT}\\.)?(?:down|w2)(?:_proj)?\\.bias$`),
    isVector,
  ],
];

const LAYER = /^(model\.layers\.\d+\.)(.+)$/;
const TABLE = "model.embed_tokens.weight";
const FINAL_NORM = "model.norm.weight";
const HEAD = "lm_head.weight";

/**
 * Errors: `invalid_option` for a model whose results would change: norms that are not RMS norms or not before the
 * layers, unknown tensors, widths that segments do not divide
 */
export function foldPlan(
  heads: readonly TensorHead[],
  config: ModelConfig,
): FoldPlan {
  if (typeof config.rms_norm_eps !== "number") {
    throw unfit("a config.json with `rms_norm_eps`", "one without it");
  }
  const stream = streamOf(heads, config);
  const folds = new Map<string, Fold>();
  for (const head of heads) folds.set(head.name, foldOf(head, stream));
  for (const norm of [TABLE, FINAL_NORM]) {
    if (!folds.has(norm)) throw unfit(`a tensor ${norm}`, "none");
  }
  for (const { norm } of folds.values()) {
    if (norm && !folds.has(norm)) throw unfit(`a tensor ${norm}`, "none");
  }
  const { normOffset } = stream;
  const plan = { folds, normOffset, config };
  if (folds.has(HEAD)) return plan;
  return {
    ...plan,
    config: { ...config, tie_word_embeddings: false },
    head: {
      name: HEAD,
      source: TABLE,
      fold: reads(FINAL_NORM)("", stream),
    },
  };
}

function foldOf({ name, shape }: TensorHead, stream: Stream): Fold {
  const fold = namedFold(name, stream);
  if (!fold) {
    throw unfit(
      "only tensors of layers as Llama has them",
      `${name}, whose part in the rotation is not known`,
    );
  }
  const { columns = 1, rows = 1 } = fold;
  const [height, width] = [shape.at(-2) ?? 1, shape.at(-1) ?? 1];
  if (width % columns !== 0 || height % rows !== 0) {
    throw unfit(
      `${name} in whole segments of ${Math.max(columns, rows)}`,
      `shape [${shape.join(", ")}]`,
    );
  }
  return fold;
}

function namedFold(name: string, stream: Stream): Fold | undefined {
  if (name === TABLE) return isVector("", stream);
  if (name === FINAL_NORM) return isTaken("", stream);
  if (name === HEAD) return reads(FINAL_NORM)("", stream);
  const [, owner, rest] = LAYER.exec(name) ?? [];
  if (owner === undefined || rest === undefined) return undefined;
  return LAYER_RULES.find(([pattern]) => pattern.test(rest))?.[1](
    owner,
    stream,
  );
}

function streamOf(heads: readonly TensorHead[], config: ModelConfig): Stream {
  const width = heads.find(({ name }) => name === TABLE)?.shape.at(-1);
  if (width === undefined) throw unfit(`a tensor ${TABLE}`, "none");
  if (width % STREAM_SEGMENT !== 0) {
    throw unfit(`a width that ${STREAM_SEGMENT} divides`, `${width}`);
  }
  const headLength =
    typeof config.head_dim === "number"
      ? config.head_dim
      : width / Number(config.num_attention_heads);
  // If fused with q and k, v is not a separate matrix.
  const isSplit =
    heads.some(({ name }) => name.endsWith("v_proj.weight")) &&
    !heads.some(({ name }) => name.endsWith("qkv_proj.weight"));
  const head = ([32, 16] as const).find((length) => headLength % length === 0);
  return {
    segment: STREAM_SEGMENT,
    head: isSplit ? head : undefined,
    normOffset: String(config.model_type).startsWith("gemma") ? 1 : 0,
  };
}

function unfit(expected: string, got: string): AppError {
  return new AppError(
    "invalid_option",
    `Expected ${expected} to fold a rotation into the weights, got ${got}`,
  );
}
