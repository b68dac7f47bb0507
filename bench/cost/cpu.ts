/** CPU time that the runtimes of a state folder have taken, as Linux counts it. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** `getconf CLK_TCK` on every Linux that Node has a build for. */
const TICKS_A_SECOND = 100;

export function cpuSeconds(stateFolder: string): number {
  const pids = readdirSync(join(stateFolder, "pids"));
  const ticks = pids.map((pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name, which may hold blanks, stands in brackets; user and system time are the 12th and 13th behind it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(fields[11]) + Number(fields[12]);
  });
  return ticks.reduce((sum, each) => sum + each, 0) / TICKS_A_SECOND;
}
