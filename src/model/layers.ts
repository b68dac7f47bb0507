/** What an architecture gives a transformer: its tensors, and the passes of its blocks and norms. */
import type { ModelShape } from "../api/run-config.ts";
import type { Pointer } from "../kernels/arena.ts";
import type { BatchShape, Ends, Room } from "./activations.ts";
import type { BackwardPass, Pass } from "./model.ts";
import type { ParameterTable, ParameterTensor } from "./parameters.ts";

/** The types in which architectures differ. */
export type Parts = {
  shape: ModelShape;
  /** The tensors of a block, and those of a norm. */
  block: unknown;
  norm: unknown;
  /** What a forward pass leaves of a block (`Room`), and of a norm. */
  between: unknown;
  inside: unknown;
  moments: unknown;
};

export type ModelTensors<Block, Norm> = {
  table: ParameterTable;
  tokenEmbedding: ParameterTensor; // [V, C]
  /** Where positions have one. */
  positionEmbedding?: ParameterTensor; // [T, C]
  /** The table of tokens where it is tied to it. */
  head: ParameterTensor; // [V, C]
  blocks: Block[];
  finalNorm: Norm;
};

/** Of which model, on how many tokens. */
export type Sizes<P extends Parts> = { shape: P["shape"]; batch: BatchShape };
/** And which of its blocks. */
export type LayerPlace<P extends Parts> = Sizes<P> & { layer: number };

type BlockPass<P extends Parts> = (
  activations: P["inside"] & Ends,
  tensors: P["block"],
  place: LayerPlace<P>,
  pass: Pass,
) => void;

export type Layers<P extends Parts> = {
  room: (sizes: Sizes<P>) => Room<P["between"], P["inside"], P["moments"]>;

  block: {
    forward: BlockPass<P>;
    /** Everything between the block's input and its last linear layer: what its backward pass reads. */
    inside: BlockPass<P>;
    /** What lies between the block's products, of those. */
    between: BlockPass<P>;
    /**
     * `dResidual` f32 [N, C]: the gradient of the block's output becomes that of its input. The gradient of what a
     * linear layer read takes its place, so the block's activations are gone afterwards.
     */
    backward(
      dResidual: Pointer,
      activations: P["inside"] & Ends,
      tensors: P["block"],
      place: LayerPlace<P>,
      pass: BackwardPass,
    ): void;
  };

  norm: {
    /** out, x f32 [N, C] */
    forward(
      out: Pointer,
      moments: P["moments"],
      x: Pointer,
      tensors: P["norm"],
      sizes: Sizes<P>,
      pass: Pass,
    ): void;
    /** Adds to `dX`. dX, dOut, x f32 [N, C]. */
    backward(
      dX: Pointer,
      dOut: Pointer,
      x: Pointer,
      moments: P["moments"],
      tensors: P["norm"],
      sizes: Sizes<P>,
      pass: BackwardPass,
    ): void;
  };
};
