/** What architectures define: their tensors, and the parts of a block that differ. */
import type { ModelShape } from "../api/run-config.ts";
import type { Pointer } from "../kernels/arena.ts";
import type { BlockLinear } from "./block-linear.ts";
import type { BackwardPass, Pass } from "./model.ts";
import type { ParameterTable, ParameterTensor } from "./parameters.ts";

/** The tensors that all blocks have; others depend on the architecture. */
type BlockNorms = { norm1: unknown; norm2: unknown };

/** The architecture's own types. */
export type Parts = {
  shape: ModelShape;
  block: BlockNorms;
  /** Saved by a norm for its backward pass. */
  moments: unknown;
  /** Further activations saved by a block. */
  kept: object;
};
type NormTensors<Block extends BlockNorms> = Block["norm1" | "norm2"];

export type ModelTensors<Block extends BlockNorms> = {
  table: ParameterTable;
  tokenEmbedding: ParameterTensor; // [V, C]
  /** Only with learned positions. */
  positionEmbedding?: ParameterTensor; // [T, C]
  /** Equal to `tokenEmbedding` if tied. */
  head: ParameterTensor; // [V, C]
  blocks: Block[];
  finalNorm: NormTensors<Block>;
};

/** Sizes of one batch: N = B · T tokens. */
export type BatchShape = { B: number; T: number; N: number };

/** A model shape and a batch shape. */
export type Sizes<P extends Parts> = { shape: P["shape"]; batch: BatchShape };
/** One of its blocks. */
export type Block<P extends Parts> = Sizes<P> & {
  layer: number;
  tensors: P["block"];
};

/** Features per row of a block's activations. */
type BlockWidths = {
  qkv: number;
  /** Width of all heads together. */
  attention: number;
  up: number;
  gated: number;
};

/** Operands of products that elementwise operations can recompute from what is kept. */
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

/** With the residual stream before and after the block, f32 [N, C]; consecutive blocks share them. */
export type BlockActivations<P extends Parts> = BlockInside<P> & {
  input: Pointer;
  output: Pointer;
};

/** In a fixed order: an index is part of noise keys. */
export const LINEARS = ["qkv", "attentionOut", "up", "down"] as const;
export type LinearName = (typeof LINEARS)[number];

export type Layers<P extends Parts> = {
  widths(shape: P["shape"]): BlockWidths;
  /** Allocates for `rows` rows. */
  allocMoments(rows: number): P["moments"];
  /** Called once per batch; the result once per kept block. */
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
    /** Computes the gradient of `qkv` from that in `attention`, in the caller's arena scope. */
    backward(
      a: BlockActivations<P>,
      block: Block<P>,
      pass: BackwardPass,
    ): Pointer;
  };

  gate: {
    /** `gated` of `up`. */
    forward(a: BlockActivations<P>, block: Block<P>): void;
    /** Computes the gradient of `up` from that in `gated`. */
    backward(a: BlockActivations<P>, block: Block<P>): Pointer;
  };
};
