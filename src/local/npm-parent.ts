/**
 * Ends this process when the npm that runs it has ended.
 *
 * Scripts of package.json use `exec node …`, so that npm's shell becomes this process: npm forwards SIGINT and SIGTERM
 * to its shell only, which may ignore them (dash ignores SIGINT) or die and leave this process behind. SIGHUP and
 * SIGKILL end npm and are not forwarded; then a process whose parent has ended sends itself SIGTERM.
 */
import { readFileSync } from "node:fs";

const LOOK_EVERY_MS = 200;
/** The parent of orphaned processes. */
const INIT = 1;

export function endWithNpm(): void {
  const isUnderNpm = process.env.npm_lifecycle_script !== undefined;
  if (!isUnderNpm || process.platform === "win32") return;
  const parent = process.ppid;
  // npm may have ended already; but in a container, npm itself may be process 1.
  const isOrphan = parent === INIT && !isNpm(parent);
  endWithParent(isOrphan ? undefined : parent);
}

/** Ends this process when `parent` is not, or no longer, its parent; `onGone` is called before. */
export function endWithParent(
  parent: number | undefined,
  onGone?: () => void,
): void {
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    onGone?.();
    process.kill(process.pid, "SIGTERM");
  }, LOOK_EVERY_MS);
  timer.unref();
}

function isNpm(pid: number): boolean {
  if (process.platform !== "linux") return false;
  return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("npm");
}
