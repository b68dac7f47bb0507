/** What training, sampling and checkpoints know of a model, whatever its architecture. */
import type { Recipe } from "../api/recipe.ts";
import type {
  ModelRequest,
  ModelShape,
  ModelSizes,
} from "../api/run-config.ts";
import type { FusedLayers } from "../checkpoints/fused-tensors.ts";
import type { TiedHead } from "../checkpoints/model-tensors.ts";
import type { Pointer } from "../kernels/arena.ts";
import type { Steps } from "../kernels/steps.ts";
import type { GradientSink, ParameterSource } from "./flat-vector.ts";
import type { Linear } from "./linear.ts";
import type { NoiseCoordinates } from "./linear-noise.ts";
import type { PackedWeights } from "./packed-weights.ts";
import type { ParameterTable } from "./parameters.ts";

/** A target that is not counted in the loss. */
export const IGNORED_TARGET = -1;

export type Batch = {
  /** B */
  sequences: number;
  /** [B, T] */
  tokens: Int32Array;
  /** [B, T]; −1 is not counted. */
  targets: Int32Array;
};

/** Cross-entropy in nats, summed in f64 over the counted tokens. */
export type BatchLoss = { lossSum: number; tokens: number };

/** How a forward pass computes, and on which parameters. Passes of one step share `packedWeights`. */
export type Pass = {
  recipe: Recipe;
  parameters: ParameterSource;
  packedWeights: PackedWeights;
};

/**
 * What a forward pass leaves for the backward pass: all activations; what products give and take, without the
 * norms and the gates between them, which cost a hundredth of a step; or the input of every block. The backward
 * pass computes the rest again. The gradient is the same, bit for bit.
 */
export const KEPT_ACTIVATIONS = ["all", "products", "inputs"] as const;
export type KeptActivations = (typeof KEPT_ACTIVATIONS)[number];

export type BackwardPass = Pass & {
  gradient: GradientSink;
  noise: NoiseCoordinates;
  keeps: KeptActivations;
  observe?: ObserveLinear;
};

/** Sees what the backward pass of a linear layer is given: dOutput f32 [tokens, out], input f32 [tokens, in]. */
type ObserveLinear = (
  linear: Linear & { name: string },
  dOutput: Pointer,
  input: Pointer,
  tokens: number,
) => void;

/** A kind of model. What its sizes mean, its tensors' names and its passes are known to its folder only. */
export interface Architecture<Shape extends ModelShape = ModelShape> {
  /** For people. */
  readonly name: string;
  /** With what is not told. Errors: `invalid_config`, what is told is no such model's */
  complete(asked: ModelRequest & ModelSizes): Shape;
  /** Errors: `invalid_config`, no such model can be */
  check(shape: Shape): void;
  /** Errors: `invalid_config`, it cannot be trained on microbatches of so many sequences */
  checkTraining(shape: Shape, sequences: number, segmentLength?: number): void;
  /** config.json of transformers. */
  huggingFaceConfig(shape: Shape): Record<string, unknown>;
  /** The shape of a model with this config.json. Errors: `invalid_config` for another */
  importedShape(config: Readonly<Record<string, unknown>>): Shape;
  /** With which names of tensors may begin in a file, or not. */
  readonly prefix: string;
  /** What a file may hold besides the model's tensors. */
  readonly notRead: RegExp;
  tiedHead(shape: Shape): TiedHead | undefined;
  /** Layers that a directory with this config.json stores as one. */
  fusedIn(config: Readonly<Record<string, unknown>>): FusedLayers;
  /** Errors: as `check` */
  model(shape: Shape): Model;
}

export interface Model {
  readonly shape: ModelShape;
  readonly table: ParameterTable;

  /** The loss only. Yields between blocks. */
  loss(pass: Pass, batch: Batch): Steps<BatchLoss>;

  /** The loss, and the gradient of its mean over the counted tokens. Yields between blocks. */
  lossAndGradient(pass: BackwardPass, batch: Batch): Steps<BatchLoss>;

  /** Logits of every position: f32 [B·T, V], copied out. `tokens` [B, T]. */
  logits(
    pass: Pass,
    tokens: Int32Array,
    sequences: number,
  ): Float32Array<ArrayBuffer>;
}
