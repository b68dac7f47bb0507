/** The runtimes of an edge of this machine, which it notes in its state folder. */
import { readdirSync } from "node:fs";
import { join } from "node:path";

export function edgePids(stateFolder: string): number[] {
  return readdirSync(join(stateFolder, "pids")).map(Number);
}

/** SIGKILL to all of them; the edge starts others. Returns how many there were. */
export function killEdge(stateFolder: string): number {
  let killed = 0;
  for (const pid of edgePids(stateFolder)) {
    try {
      process.kill(pid, "SIGKILL");
      killed++;
    } catch (error) {
      // The note of one that was killed before may still be there.
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
  return killed;
}
