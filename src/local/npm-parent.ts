/**
 * Ends this process when the npm that runs it has ended.
 *
 * Scripts of package.json say `exec node …`, so that the shell in which npm runs them becomes this
 * process: npm passes SIGINT and SIGTERM on to its shell alone, which may keep them (dash keeps SIGINT)
 * or die of them and leave this process. SIGHUP and SIGKILL end npm and are passed on to nobody; then a
 * process whose parent has gone sends itself the SIGTERM that it should have got.
 */
import { readFileSync } from "node:fs";

const LOOK_EVERY_MS = 200;
/** Who becomes the parent of a process whose own has gone. */
const INIT = 1;

export function endWithNpm(): void {
  const isUnderNpm = process.env.npm_lifecycle_script !== undefined;
  if (!isUnderNpm || process.platform === "win32") return;
  const parent = process.ppid;
  // It may have gone already; but in a container npm itself may be the first process.
  const isOrphan = parent === INIT && !isNpm(parent);
  endWithParent(isOrphan ? undefined : parent);
}

/** Ends this process when `parent` is not, or no more, its parent. */
export function endWithParent(parent: number | undefined): void {
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    process.kill(process.pid, "SIGTERM");
  }, LOOK_EVERY_MS);
  timer.unref();
}

function isNpm(pid: number): boolean {
  if (process.platform !== "linux") return false;
  return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("npm");
}
