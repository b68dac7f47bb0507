/** How much memory computing in this process may take. */
import { joinedBytes } from "../training/memory.ts";

/** Of what the system, or the container, has left; the rest is for everything else, and for other processes that train. */
const SHARE = 1 / 4;

/** Of each of `trainers` threads. */
export function threadMemoryBytes(trainers = 1): number {
  return joinedBytes(SHARE * process.availableMemory(), trainers);
}
