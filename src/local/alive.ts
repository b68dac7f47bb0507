import { readFileSync } from "node:fs";

/**
 * Whether a process runs. A zombie, which has ended but has not been waited for by its parent, still has its pid, and
 * counts as ended.
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

/** Linux's state letter of a process; "" if unknown. */
function stateOf(pid: number): string {
  try {
    // After the name, which is in parentheses and may contain any character.
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!;
  } catch {
    // It has just ended, or the system is not Linux.
    return "";
  }
}
