import type { ObjectBindings } from "../bindings.ts";
import type { ParameterShard } from "./parameter-shard.ts";

/** The shard's methods over native RPC, which carries tensors. */
export type ShardStub = Pick<
  ParameterShard,
  | "initialize"
  | "push"
  | "pull"
  | "prepare"
  | "apply"
  | "pin"
  | "pinned"
  | "end"
  | "destroy"
>;

export function shardStub(
  bindings: Pick<ObjectBindings, "PARAMETER_SHARD">,
  run: string,
  shard: number,
): ShardStub {
  return bindings.PARAMETER_SHARD.getByName(
    `${run}/${shard}`,
  ) as unknown as ShardStub;
}
