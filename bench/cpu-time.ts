/** CPU time that processes have taken, as Linux counts it. */
import { readFileSync } from "node:fs";

/** `getconf CLK_TCK` on every Linux that Node has a build for. */
const TICKS_A_SECOND = 100;

/** User and system time (proc(5)). */
export function cpuSeconds(pids: readonly number[]): number {
  const ticks = pids.flatMap((pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // Behind the name, which may have spaces: state is field 3, utime 14 and stime 15.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return [Number(fields[11]), Number(fields[12])];
  });
  return ticks.reduce((sum, each) => sum + each, 0) / TICKS_A_SECOND;
}
