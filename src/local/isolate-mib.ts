import { totalmem } from "node:os";

const MIB = 1024 * 1024;
/** The platform's. */
const LEAST = 128;
/** All shards of `medium` at once, with gradients and frames, take a quarter of it. */
const MOST = 1024;

/**
 * What an edge of this machine may hold in memory, in MiB: a sixteenth of what the machine has. On the platform each shard
 * may have an isolate to itself; here all share one, and what finds no room in it is read again with every step.
 */
export function isolateMib(machineBytes = totalmem()): number {
  return Math.max(LEAST, Math.min(MOST, Math.floor(machineBytes / MIB / 16)));
}
