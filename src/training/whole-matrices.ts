/**
 * Muon in a shard. Gradients arrive in slices, and a matrix may span several: its momentum and direction are computed
 * piece by piece, and the matrix is updated as a whole after its last piece.
 */
import type { Pointer, Region } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import { nesterov } from "../kernels/vector.ts";
import {
  overlap,
  type ParameterTensor,
  type ElementRange,
} from "../model/parameters.ts";
import { type Update, updateMatrix } from "./optimizer.ts";
import type { ShardGeometry, ShardState } from "./shard-state.ts";

export class WholeMatrices {
  readonly #geometry: ShardGeometry;
  readonly #state: ShardState;
  readonly #update: Update;
  /** f32 [length of the matrix]: the direction, filled piece by piece. Outlives a slice's arena scope. */
  #direction: Region | undefined;

  constructor(geometry: ShardGeometry, state: ShardState, update: Update) {
    this.#geometry = geometry;
    this.#state = state;
    this.#update = update;
  }

  /** Takes the mean gradient of a part of the shard's matrices, f32 [part.length]. Parts must come in order. */
  take(gradient: Pointer, part: ElementRange): void {
    const { table, range } = this.#geometry;
    for (const tensor of table.tensors) {
      const start = tensor.offset - range.start;
      const piece = overlap({ start, length: tensor.length }, part);
      if (piece.length === 0) continue;
      const own = gradient + 4 * (piece.start - part.start);
      this.#takePiece(tensor, own, piece.start - start, piece.length);
      if (piece.start + piece.length === start + tensor.length) {
        this.#updateWhole(tensor, start);
      }
    }
  }

  /** Frees the direction of a matrix that was left unfinished. */
  end(): void {
    this.#direction?.free();
    this.#direction = undefined;
  }

  /** Takes elements `[at, at + length)` of the tensor. */
  #takePiece(
    tensor: ParameterTensor,
    gradient: Pointer,
    at: number,
    length: number,
  ): void {
    const { arena } = kernels();
    if (at === 0) this.#direction = arena.own(4 * tensor.length);
    const momentum = this.#momentum(tensor).subarray(at, at + length);
    arena.scope(() => {
      const values = arena.copyIn(momentum);
      nesterov(
        this.#direction!.pointer + 4 * at,
        values,
        gradient,
        length,
        this.#geometry.config.optimizer.momentum,
      );
      momentum.set(arena.f32(values, length));
    });
  }

  #updateWhole(tensor: ParameterTensor, start: number): void {
    const { arena } = kernels();
    const whole = this.#state.parameters.subarray(start, start + tensor.length);
    arena.scope(() => {
      const matrix = arena.copyIn(whole);
      updateMatrix(
        tensor,
        matrix,
        this.#direction!.pointer,
        this.#update.learningRates.matrix,
        this.#geometry.config.optimizer.weightDecay,
      );
      whole.set(arena.f32(matrix, tensor.length));
    });
    this.end();
  }

  /** The momentum of the whole tensor. */
  #momentum({ offset, length }: ParameterTensor): Float32Array {
    const { start, moments } = this.#state.groups.find(
      ({ group }) => group === "matrix",
    )!;
    const at = offset - this.#geometry.range.start - start;
    return moments[0]!.subarray(at, at + length);
  }
}
