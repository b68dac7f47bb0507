/** Client side of a shard: small calls by RPC, frames as bodies, which are streamed without copies. */
import { fromResult, type Result } from "../../api/errors.ts";
import { FRAME_BASE } from "../../api/frame-delta.ts";
import { MAX_MICROBATCHES } from "../../training/run-request.ts";
import { subtreeProblems } from "../../training/subtrees.ts";
import { subtreeOfKey } from "../platform/author.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { frameTooLarge, MAX_FRAME_BYTES } from "./frame-body.ts";
import type { ParameterShard } from "./parameter-shard.ts";
import { REWINDS, WAIT_MS } from "./shard-frames.ts";
import { subtreeStub } from "./subtree-stub.ts";

const ORIGIN = "https://shard";

export type ShardStub = Pick<
  ParameterShard,
  | "initialize"
  | "exclude"
  | "prepare"
  | "apply"
  | "pin"
  | "pinned"
  | "states"
  | "goBack"
  | "end"
  | "destroy"
> & { fetch(url: string, init?: RequestInit): Promise<Response> };

export function shardStub(
  bindings: Pick<ObjectBindings, "PARAMETER_SHARD">,
  run: string,
  shard: number,
): ShardStub {
  return bindings.PARAMETER_SHARD.getByName(
    `${run}/${shard}`,
  ) as unknown as ShardStub;
}

/**
 * The object that receives the pushes of a microbatch for a shard: the shard, or, if the lease key names a subtree
 * size, the subtree with the microbatch. Only valid sizes are used, so that forged keys create no objects.
 */
export function pushTarget(
  bindings: Pick<ObjectBindings, "PARAMETER_SHARD" | "SUBTREE">,
  run: string,
  shard: number,
  microbatch: number,
  key: string | undefined,
): Pick<ShardStub, "fetch"> {
  const size = key === undefined ? undefined : subtreeOfKey(key);
  const canBe =
    size !== undefined &&
    microbatch < MAX_MICROBATCHES &&
    subtreeProblems({ microbatches: MAX_MICROBATCHES, subtree: size })
      .length === 0;
  if (!canBe) return shardStub(bindings, run, shard);
  const id = bindings.PARAMETER_SHARD.idFromName(`${run}/${shard}`);
  return subtreeStub(bindings, id.toString(), Math.floor(microbatch / size));
}

/**
 * Pulls the frame of the parameters at exactly `step`, as a body; or, if smaller, its difference to the frame with
 * digest `base`, with that digest in the response. Waits `waitMs` for the shard to reach the step. Errors: those of
 * `PullDesk.pull`
 */
export async function pullFrame(
  shard: ShardStub,
  caller: string,
  step: number,
  base: string | undefined,
  rewinds: number | undefined,
  waitMs: number,
): Promise<{ body: ReadableStream<Uint8Array>; base: string | null }> {
  const response = await shard.fetch(`${ORIGIN}/parameters/${step}`, {
    headers: {
      Caller: caller,
      ...(base && { [FRAME_BASE]: base }),
      ...(rewinds !== undefined && { [REWINDS]: `${rewinds}` }),
      ...(waitMs > 0 && { [WAIT_MS]: `${waitMs}` }),
    },
  });
  if (response.ok)
    return { body: response.body!, base: response.headers.get(FRAME_BASE) };
  return fromResult(await response.json<Result<never>>());
}

/**
 * Pushes the frame `body`, which is not read before the shard has accepted `key`, the key of the caller's lease.
 * Returns whether the same bytes were stored before. Errors: those of `PushDesk.push`
 */
export async function pushFrame(
  target: Pick<ShardStub, "fetch">,
  caller: string,
  key: string | undefined,
  step: number,
  microbatch: number,
  body: ReadableStream<Uint8Array> | null,
  declaredBytes: number | undefined,
): Promise<Result<{ duplicate: boolean }>> {
  if (declaredBytes !== undefined && declaredBytes > MAX_FRAME_BYTES)
    throw frameTooLarge(declaredBytes);
  const response = await target.fetch(
    `${ORIGIN}/gradients/${step}/${microbatch}`,
    {
      method: "PUT",
      body,
      headers: {
        "Frame-Bytes": `${declaredBytes ?? ""}`,
        Caller: caller,
        ...(key !== undefined && { "Lease-Key": key }),
      },
    },
  );
  return response.json();
}
