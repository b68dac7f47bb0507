/** How much memory computing in this tab may take. */
import { joinedBytes } from "../../training/memory.ts";

const GIB = 1024 ** 3;
/** Of the device; the rest is for the system and other tabs. */
const SHARE = 1 / 8;
/** Of the device, in GiB, where the browser does not say: only Chromium does. */
const USUAL_GIB = 4;

/** Of each of `trainers` Workers. */
export function tabMemoryBytes(trainers = 1): number {
  const { deviceMemory = USUAL_GIB } = navigator as { deviceMemory?: number };
  return joinedBytes(SHARE * deviceMemory * GIB, trainers);
}
