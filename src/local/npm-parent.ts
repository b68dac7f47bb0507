/**
 * Ends this process when the npm that runs it ends.
 *
 * npm runs a script in a shell. It passes SIGINT and SIGTERM on, but to that shell alone, which may
 * die of them and leave this process; SIGHUP and SIGKILL it passes on to nobody. So whoever stops npm,
 * as a supervisor does, would stop nothing. Here a process whose npm, or npm's shell, has gone sends
 * itself the SIGTERM that it should have got.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

const LOOK_EVERY_MS = 200;
/** Who becomes the parent of a process whose own has gone. */
const INIT = 1;

export function endWithNpm(): void {
  const script = process.env.npm_lifecycle_script;
  if (script === undefined || process.platform === "win32") return;
  const parent = process.ppid;
  // Some shells become the one command that they run; then npm is the parent.
  const isShell = commandOf(parent).includes(script);
  const npm = isShell ? parentOf(parent) : undefined;
  const isOrphan = (): boolean =>
    process.ppid !== parent || (isShell && parentOf(parent) !== npm);
  // Before this process had looked, its parent may have gone already.
  const wasOrphan = parent === INIT && !isShell && !isNpm(parent);
  const timer = setInterval(() => {
    if (!wasOrphan && !isOrphan()) return;
    clearInterval(timer);
    process.kill(process.pid, "SIGTERM");
  }, LOOK_EVERY_MS);
  timer.unref();
}

function isNpm(pid: number): boolean {
  return /\bnpm\b/.test(commandOf(pid));
}

function parentOf(pid: number): number {
  // The fields after the name, which stands in brackets, are state and parent.
  return process.platform === "linux"
    ? Number(/\) \S (\d+)/.exec(readProcess(pid, "stat"))?.[1])
    : Number(ps(pid, "ppid"));
}

function commandOf(pid: number): string {
  return process.platform === "linux"
    ? readProcess(pid, "cmdline")
    : ps(pid, "command");
}

/** "" for a process that is no more. */
function readProcess(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}

function ps(pid: number, field: string): string {
  try {
    return execFileSync("ps", ["-o", `${field}=`, "-p", `${pid}`], {
      encoding: "utf8",
    });
  } catch {
    return "";
  }
}
