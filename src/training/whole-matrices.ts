/**
 * Muon in a shard. Gradients come slice by slice, and a matrix may lie across several: its momentum and
 * direction are made piece by piece, and where its last piece has come, the matrix is updated whole.
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
  /** f32 [length of the matrix]: the direction, as far as it has come. It outlives a slice's scope. */
  #direction: Region | undefined;

  constructor(geometry: ShardGeometry, state: ShardState, update: Update) {
    this.#geometry = geometry;
    this.#state = state;
    this.#update = update;
  }

  /** The mean gradient of a part of the shard's matrices, f32 [part.length]. Parts come in order. */
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

  /** Gives the room of a matrix back that was broken off in. */
  end(): void {
    this.#direction?.free();
    this.#direction = undefined;
  }

  /** `[at, at + length)` of the tensor. */
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

  /** Of the whole tensor. */
  #momentum({ offset, length }: ParameterTensor): Float32Array {
    const { start, moments } = this.#state.groups.find(
      ({ group }) => group === "matrix",
    )!;
    const at = offset - this.#geometry.range.start - start;
    return moments[0]!.subarray(at, at + length);
  }
}
