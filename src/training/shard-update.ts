/** A shard's computation in the second phase of a commit: the update, in one pass over the mean gradient. */
import { payloadBytes } from "../api/frame.ts";
import type { Pointer } from "../kernels/arena.ts";
import { dryRun, kernels } from "../kernels/runtime.ts";
import { overlap, type ElementRange } from "../model/parameters.ts";
import {
  eachSlice,
  type MeanGradient,
  loggedDtype,
  loggedGradient,
  SLICE_LENGTH,
} from "./mean-gradient.ts";
import { isOrthogonalized, type Update, updateElements } from "./optimizer.ts";
import {
  type ShardGeometry,
  type ShardState,
  stateOf,
  stateParts,
} from "./shard-state.ts";
import { WholeMatrices } from "./whole-matrices.ts";

/**
 * Updates `state` in place, in one pass over the gradient. A matrix that is updated as a whole is updated with the
 * slice that contains its end.
 */
export function applyUpdate(
  geometry: ShardGeometry,
  state: ShardState,
  update: Update,
  mean: MeanGradient,
): void {
  const { config } = geometry;
  const matrices = new WholeMatrices(geometry, state, update);
  try {
    eachSlice(geometry, mean, (gradient, from, length) => {
      for (const group of state.groups) {
        const part = overlap(group, { start: from, length });
        if (part.length === 0) continue;
        const own = gradient + 4 * (part.start - from);
        if (isOrthogonalized(config.optimizer, group)) {
          matrices.take(own, part);
          continue;
        }
        inArena(
          [
            within(state.parameters, part),
            ...group.moments.map((moment) =>
              within(moment, { ...part, start: part.start - group.start }),
            ),
          ],
          ([parameters, ...moments]) =>
            updateElements(
              group.group,
              config.optimizer,
              parameters!,
              moments,
              own,
              part.length,
              update,
            ),
        );
      }
    });
  } finally {
    matrices.end();
  }
}

/** The most arena bytes that `applyUpdate` uses, with gradients reduced on the way. Computed by a dry run. */
export function updateArenaBytes(geometry: ShardGeometry): number {
  const { config, range } = geometry;
  const vectors = stateParts(geometry).map(
    ({ length }) => new LengthAlone(length) as unknown as Vector,
  );
  const dtype = loggedDtype(config);
  const mean = loggedGradient(geometry, 0, (_, slice) => {
    const length = Math.min(SLICE_LENGTH, range.length - slice * SLICE_LENGTH);
    return new Uint8Array(payloadBytes(dtype, length));
  });
  const update = {
    step: 0,
    clipCoefficient: 1,
    learningRates: { matrix: 0, embedding: 0, vector: 0 },
  };
  const state = stateOf(geometry, vectors);
  return dryRun(() => applyUpdate(geometry, state, update, mean));
}

type Vector = Float32Array<ArrayBuffer>;

/** Stands in for a vector in a dry run, which only needs its length. */
class LengthAlone {
  readonly length: number;

  constructor(length: number) {
    this.length = length;
  }

  get byteLength(): number {
    return 4 * this.length;
  }

  subarray(start: number, end: number): LengthAlone {
    return new LengthAlone(end - start);
  }

  set(): void {
    // A dry run computes no values.
  }
}

/** Calls `body` with copies of `vectors` in the arena, then copies the results back. */
function inArena(
  vectors: readonly Float32Array[],
  body: (pointers: Pointer[]) => void,
): void {
  const { arena } = kernels();
  arena.scope(() => {
    const pointers = vectors.map((vector) => arena.copyIn(vector));
    body(pointers);
    for (const [index, vector] of vectors.entries()) {
      vector.set(arena.f32(pointers[index]!, vector.length));
    }
  });
}

function within(
  vector: Float32Array,
  { start, length }: ElementRange,
): Float32Array {
  return vector.subarray(start, start + length);
}
