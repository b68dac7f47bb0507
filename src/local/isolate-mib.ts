import { totalmem } from "node:os";

const MIB = 1024 * 1024;
/** The platform's limit. */
const LEAST = 128;
/** Four times what all shards of preset `medium` take at once, with gradients and frames. */
const MOST = 1024;

/**
 * Memory limit for a local edge's isolate, in MiB: a sixteenth of the machine's. On the platform each shard may have
 * its own isolate; here all share one, and what does not fit is read again at every step.
 */
export function isolateMib(machineBytes = totalmem()): number {
  return Math.max(LEAST, Math.min(MOST, Math.floor(machineBytes / MIB / 16)));
}
