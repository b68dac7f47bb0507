/** Options for training on a remote edge. */
import { addressOf, type EdgeAddress } from "../edge-arguments.ts";
import { UsageError } from "../file-arguments.ts";
import type { TrainArgs } from "./arguments.ts";

export type RemoteOptions = {
  address: EdgeAddress;
  detach: boolean;
};

/** Undefined for a local edge. */
export function remoteOf(
  { url, token, detach = false }: TrainArgs,
  { trainers, threads }: { trainers: number; threads: number },
): RemoteOptions | undefined {
  if (url === undefined) {
    const [alone] = Object.entries({
      token,
      detach: detach || undefined,
    })
      .filter(([, value]) => value !== undefined)
      .map(([name]) => name);
    if (alone === undefined) return undefined;
    throw new UsageError(
      `Expected --${alone} only with --url, got --${alone} without`,
    );
  }
  if (detach && (threads > 0 || trainers === 0)) {
    throw new UsageError(
      `Expected --detach with --trainers of at least 1 and no --threads, which end with this command, got --trainers ${trainers} and --threads ${threads}`,
    );
  }
  return { address: addressOf({ _: [], url, token }), detach };
}
