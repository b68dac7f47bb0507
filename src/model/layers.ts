/** In what architectures differ: their tensors, and the parts of a block that are not the same in all. */
import type { ModelShape } from "../api/run-config.ts";
import type { Pointer } from "../kernels/arena.ts";
import type { BlockLinear } from "./block-linear.ts";
import type { BackwardPass, Pass } from "./model.ts";
import type { ParameterTable, ParameterTensor } from "./parameters.ts";

/** Of a block's tensors what all have; others are an architecture's own. */
type BlockNorms = { norm1: unknown; norm2: unknown };

/** The types that are an architecture's own. */
export type Parts = {
  shape: ModelShape;
  block: BlockNorms;
  /** What a norm keeps of its rows. */
  moments: unknown;
  /** What a block keeps besides what all do. */
  kept: object;
};
type NormTensors<Block extends BlockNorms> = Block["norm1" | "norm2"];

export type ModelTensors<Block extends BlockNorms> = {
  table: ParameterTable;
  tokenEmbedding: ParameterTensor; // [V, C]
  /** Where positions have one. */
  positionEmbedding?: ParameterTensor; // [T, C]
  /** The table of tokens where it is tied to it. */
  head: ParameterTensor; // [V, C]
  blocks: Block[];
  finalNorm: NormTensors<Block>;
};

/** Sizes of one batch: N = B · T tokens. */
export type BatchShape = { B: number; T: number; N: number };

/** Of which model, on how many tokens. */
export type Sizes<P extends Parts> = { shape: P["shape"]; batch: BatchShape };
/** One of its blocks. */
export type Block<P extends Parts> = Sizes<P> & {
  layer: number;
  tensors: P["block"];
};

/** Features of what lies in a block, by row. */
type BlockWidths = {
  qkv: number;
  /** Of all heads side by side. */
  attention: number;
  up: number;
  gated: number;
};

/** What products take, and elementwise work makes of what is kept. */
export type BlockBetween = {
  norm1: Pointer; // [N, C]
  norm2: Pointer; // [N, C]
  gated: Pointer; // [N, gated]
};

export type BlockInside<P extends Parts> = P["kept"] &
  BlockBetween & {
    moments1: P["moments"];
    qkv: Pointer; // [N, qkv]
    logSumExp: Pointer; // [B, NH, T]
    attention: Pointer; // [N, attention], heads side by side
    middle: Pointer; // [N, C], the residual stream after attention
    moments2: P["moments"];
    up: Pointer; // [N, up]
  };

/** With where the residual stream comes in and goes out, f32 [N, C]; neighbours share them. */
export type BlockActivations<P extends Parts> = BlockInside<P> & {
  input: Pointer;
  output: Pointer;
};

/** In the order that is part of what noise means. */
export const LINEARS = ["qkv", "attentionOut", "up", "down"] as const;
export type LinearName = (typeof LINEARS)[number];

export type Layers<P extends Parts> = {
  widths(shape: P["shape"]): BlockWidths;
  /** Of so many rows. */
  allocMoments(rows: number): P["moments"];
  /** Once for a batch, then once for each block that is kept. */
  allocKept(sizes: Sizes<P>): () => P["kept"];

  linear(
    name: LinearName,
    tensors: P["block"],
  ): Omit<BlockLinear, "layer" | "index">;

  norm: {
    /** out, x f32 [N, C] */
    forward(
      out: Pointer,
      moments: P["moments"],
      x: Pointer,
      tensors: NormTensors<P["block"]>,
      sizes: Sizes<P>,
      pass: Pass,
    ): void;
    /** Adds to `dX`. dX, dOut, x f32 [N, C]. */
    backward(
      dX: Pointer,
      dOut: Pointer,
      x: Pointer,
      moments: P["moments"],
      tensors: NormTensors<P["block"]>,
      sizes: Sizes<P>,
      pass: BackwardPass,
    ): void;
  };

  attention: {
    /** `attention` of `qkv`. */
    forward(a: BlockActivations<P>, block: Block<P>, pass: Pass): void;
    /** Of the gradient that lies in `attention` that of `qkv`, in the caller's scope. */
    backward(
      a: BlockActivations<P>,
      block: Block<P>,
      pass: BackwardPass,
    ): Pointer;
  };

  gate: {
    /** `gated` of `up`. */
    forward(a: BlockActivations<P>, block: Block<P>): void;
    /** Of the gradient that lies in `gated` that of `up`. */
    backward(a: BlockActivations<P>, block: Block<P>): Pointer;
  };
};
