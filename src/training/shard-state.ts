/** A shard's state: parameters, and the optimizer moments of each group. */
import type { RunConfig } from "../api/run-config.ts";
import type { ShardRange } from "../api/run-status.ts";
import {
  groupParts,
  initialParameters,
  type ParameterGroup,
  type ParameterTable,
  type ElementRange,
} from "../model/parameters.ts";
import { momentsOf } from "./optimizer.ts";

export type ShardGeometry = {
  config: RunConfig;
  table: ParameterTable;
  range: ShardRange;
};

/** Parameters and optimizer state after the updates so far. */
export type ShardState = {
  /** f32 [length of the shard] */
  parameters: Float32Array<ArrayBuffer>;
  /** Each group's range in the shard; `start` is relative to the shard's. */
  groups: (ElementRange & {
    group: ParameterGroup;
    /** Each f32 [`length` of this range]. */
    moments: Float32Array<ArrayBuffer>[];
  })[];
};

/** One vector of a state, over a range of the shard; `name` identifies it in storage. */
export type StatePart = ElementRange & {
  name: string;
  /** The moment of its group; undefined for the parameters. */
  moment?: string;
};

/** The vectors of a shard's state: the parameters, then each group's moments. */
export function stateParts(geometry: ShardGeometry): StatePart[] {
  const { range } = geometry;
  return [
    { name: "parameters", start: 0, length: range.length },
    ...groupsOf(geometry).flatMap(({ group, start, length, moments }) =>
      moments.map((moment) => ({
        name: `${group}.${moment}`,
        start,
        length,
        moment,
      })),
    ),
  ];
}

/** The state made of `vectors`, in the order of `stateParts`. */
export function stateOf(
  geometry: ShardGeometry,
  vectors: readonly Float32Array<ArrayBuffer>[],
): ShardState {
  const [parameters, ...rest] = vectors;
  const groups = groupsOf(geometry).map(({ moments, ...group }) => ({
    ...group,
    moments: rest.splice(0, moments.length),
  }));
  return { parameters: parameters!, groups };
}

/** Reads f32 [end − start] of the flat vector: parameters, or a moment. */
export type StateReader = (
  start: number,
  end: number,
  moment?: string,
) => Promise<Float32Array<ArrayBuffer>>;

/** Reads a shard's state, vector by vector. */
export async function readState(
  geometry: ShardGeometry,
  read: StateReader,
): Promise<ShardState> {
  const vectors: Float32Array<ArrayBuffer>[] = [];
  for (const { start, length, moment } of stateParts(geometry)) {
    const first = geometry.range.start + start;
    vectors.push(await read(first, first + length, moment));
  }
  return stateOf(geometry, vectors);
}

/** The state at the first step, with parameters drawn from the seed. */
export function initialState(geometry: ShardGeometry): ShardState {
  const { config, table, range } = geometry;
  const { start, length } = range;
  return stateFrom(
    geometry,
    initialParameters(table, config.seed, start, length),
  );
}

/** The state at the first step, with the given parameters; moments are zero. */
export function stateFrom(
  geometry: ShardGeometry,
  parameters: Float32Array<ArrayBuffer>,
): ShardState {
  const [, ...moments] = stateParts(geometry);
  return stateOf(geometry, [
    parameters,
    ...moments.map(({ length }) => new Float32Array(length)),
  ]);
}

/** The inverse of `stateOf`. */
export function vectorsOf(state: ShardState): Float32Array<ArrayBuffer>[] {
  return [state.parameters, ...state.groups.flatMap(({ moments }) => moments)];
}

function groupsOf({ config, table, range }: ShardGeometry) {
  return groupParts(table, range.start, range.length).map((part) => ({
    ...part,
    start: part.start - range.start,
    moments: momentsOf(config.optimizer, part.group),
  }));
}
