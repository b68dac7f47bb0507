/** A shard's state: parameters, and what the optimizer remembers of each group. */
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

/** What updates have made of a shard, and what the next one needs of those before it. */
export type ShardState = {
  /** f32 [length of the shard] */
  parameters: Float32Array<ArrayBuffer>;
  /** By group: what there is of it in the shard, `start` relative to the shard's. */
  groups: (ElementRange & {
    group: ParameterGroup;
    /** f32 [length of the group here] each. */
    moments: Float32Array<ArrayBuffer>[];
  })[];
};

/** A vector of a state: of these elements of the shard, by a name that storage knows it by. */
export type StatePart = ElementRange & {
  name: string;
  /** Which of its group's moments it is; none, the parameters. */
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

/** The state whose vectors, in the order of `stateParts`, are `vectors`. */
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

/** f32 [end − start] of the flat vector: of the parameters, or of a moment. */
export type StateReader = (
  start: number,
  end: number,
  moment?: string,
) => Promise<Float32Array<ArrayBuffer>>;

/** What `read` has of the shard, vector by vector. */
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

/** At the run's first step, its parameters drawn. */
export function initialState(geometry: ShardGeometry): ShardState {
  const { config, table, range } = geometry;
  const { start, length } = range;
  return stateFrom(
    geometry,
    initialParameters(table, config.seed, start, length),
  );
}

/** The same, with these parameters. */
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

/** The other way: of `stateOf`. */
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
