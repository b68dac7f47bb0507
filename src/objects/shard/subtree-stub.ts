/** Client side of a subtree: small calls by RPC, frames and sums as bodies. */
import { fromResult, type Result } from "../../api/errors.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import type { Subtree } from "./subtree.ts";

export type SubtreeStub = Pick<Subtree, "follow" | "destroy"> & {
  fetch(url: string, init?: RequestInit): Promise<Response>;
};

/** Subtree `index` of the shard with id `shard`. */
export function subtreeStub(
  { SUBTREE }: Pick<ObjectBindings, "SUBTREE">,
  shard: string,
  index: number,
): SubtreeStub {
  return SUBTREE.getByName(`${shard}/${index}`) as unknown as SubtreeStub;
}

/**
 * Pulls the sum of the pushes with these digests, as a body; or the microbatches that have no such push. Errors:
 * `shard_not_found`; `future_step`, `step_gone`
 */
export async function pullSum(
  subtree: SubtreeStub,
  step: number,
  digests: readonly (string | null)[],
): Promise<{ body: ReadableStream<Uint8Array> } | { missing: number[] }> {
  const response = await subtree.fetch(`https://subtree/sums/${step}`, {
    method: "POST",
    body: JSON.stringify(digests),
  });
  if (response.ok) return { body: response.body! };
  return fromResult(await response.json<Result<{ missing: number[] }>>());
}
