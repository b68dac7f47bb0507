/** A run on an edge elsewhere. */
import { addressOf, type EdgeAddress } from "../edge-arguments.ts";
import { UsageError } from "../file-arguments.ts";
import type { TrainArgs } from "./arguments.ts";
import { count, wholeNumber } from "../numbers.ts";

export type RemoteOptions = {
  address: EdgeAddress;
  /** Trainers of this machine. */
  threads: number;
  detach: boolean;
};

/** Undefined where no edge is named: this machine then has its own. */
export function remoteOf(args: TrainArgs): RemoteOptions | undefined {
  const { url, token, threads, detach = false } = args;
  if (url === undefined) {
    const [alone] = Object.entries({
      token,
      threads,
      detach: detach || undefined,
    })
      .filter(([, value]) => value !== undefined)
      .map(([name]) => name);
    if (alone === undefined) return undefined;
    throw new UsageError(
      `Expected --${alone} with --url, which names the edge, got it alone`,
    );
  }
  const own = count("threads", threads, 0, 0);
  const hosted = wholeNumber("trainers", args.trainers, 0);
  if (own + hosted === 0) {
    throw new UsageError(
      "Expected a trainer at least, got --trainers 0 and no --threads",
    );
  }
  if (detach && (own > 0 || hosted === 0)) {
    throw new UsageError(
      `Expected --detach with trainers of the edge alone, got --trainers ${hosted} and --threads ${own}, which go with this command`,
    );
  }
  return {
    address: addressOf({ _: [], url, token }),
    threads: own,
    detach,
  };
}
