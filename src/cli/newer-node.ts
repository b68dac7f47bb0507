/**
 * The Node that starts runtimes and trains: this one, or where the system's is too old the one that came with the
 * package, in a process of its own that has the same terminal.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { endWithParent } from "../local/npm-parent.ts";

/** It has node:sqlite and relaxed SIMD, and Miniflare runs on it. */
const LEAST = { major: 22, minor: 13 };
/** Whose process called this one, in its environment. */
const CALLER = "MXFP4_EDGE_CALLER";
const SIGNALS: NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];

export function isNewEnough(version = process.versions.node): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > LEAST.major || (major === LEAST.major && minor >= LEAST.minor);
}

/**
 * Do what was typed by the Node that came along; returns its exit code.
 * Errors: none came along
 */
export async function byNewerNode(typed: readonly string[]): Promise<number> {
  const child = spawn(newerNode(), [process.argv[1]!, ...typed], {
    stdio: "inherit",
    env: { ...process.env, [CALLER]: String(process.pid) },
  });
  for (const signal of SIGNALS)
    process.on(signal, () => {
      // A terminal sends it to both.
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  const [code] = (await once(child, "close")) as [number | null];
  return code ?? 1;
}

/** In a process that `byNewerNode` has started: end when the one that was called is gone. */
export function endWithCaller(): void {
  const caller = process.env[CALLER];
  if (caller === undefined) return;
  delete process.env[CALLER]; // not its children's
  endWithParent(Number(caller));
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
