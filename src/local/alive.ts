import { readFileSync } from "node:fs";

/**
 * Whether a process runs. One that has ended and that its parent has not asked about yet, as under a first process
 * that asks late or never, still has its number, and does nothing any more.
 */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Alive, but another user's.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  return !/^[ZX]/.test(stateOf(pid));
}

/** Linux's letter for what a process does; "" where nobody tells. */
function stateOf(pid: number): string {
  try {
    // Behind the name, which stands in brackets and may hold any.
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!;
  } catch {
    // It is gone just now, or the system is another.
    return "";
  }
}
