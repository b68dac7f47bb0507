/**
 * Runs a command with a newer Node if the current one is too old: the one installed with the package, in a child
 * process with the same terminal.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { endWithParent } from "../local/npm-parent.ts";

/** Has node:sqlite and relaxed SIMD, and runs Miniflare. */
const LEAST = { major: 22, minor: 13 };
/** Environment variable with the calling process's pid. */
const CALLER = "MXFP4_EDGE_CALLER";
let isCallerGone = false;
const SIGNALS: NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];

export function isNewEnough(version = process.versions.node): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > LEAST.major || (major === LEAST.major && minor >= LEAST.minor);
}

/** Runs the command with the installed newer Node; returns its exit code. Errors: none is installed */
export async function byNewerNode(typed: readonly string[]): Promise<number> {
  const child = spawn(newerNode(), [process.argv[1]!, ...typed], {
    stdio: "inherit",
    env: { ...process.env, [CALLER]: String(process.pid) },
  });
  for (const signal of SIGNALS)
    process.on(signal, () => {
      // A terminal sends SIGINT to both.
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  const [code] = (await once(child, "close")) as [number | null];
  return code ?? 1;
}

/** In a process started by `byNewerNode`: ends when its caller has ended. */
export function endWithCaller(): void {
  const caller = process.env[CALLER];
  if (caller === undefined) return;
  delete process.env[CALLER]; // not its children's
  endWithParent(Number(caller), () => (isCallerGone = true));
}

/**
 * Whether this process ends because its caller did without passing a signal on, as by SIGKILL: nobody asked for its work to be
 * ended.
 */
export function hasLostCaller(): boolean {
  return isCallerGone;
}

function newerNode(): string {
  const name = `node-${process.platform}-${process.arch}`;
  try {
    const manifest = createRequire(import.meta.url).resolve(
      `${name}/package.json`,
    );
    return join(dirname(manifest), "bin/node");
  } catch {
    throw new Error(
      `Expected Node ${LEAST.major}.${LEAST.minor} or later, got ${process.versions.node}, and ${name} is not installed with this package: get a Node from https://nodejs.org, or install with --include=optional`,
    );
  }
}
