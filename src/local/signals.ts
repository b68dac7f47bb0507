/** Handling of the signals that end a command. */
import { readFileSync } from "node:fs";

/** Exit code of a command ended by Ctrl-C, as shells report it: 128 + SIGINT. */
export const INTERRUPTED = 130;
const HANGUP_BIT = 1n << 0n;
/** A single Ctrl-C may arrive twice: from the terminal, and from npm. */
const ONE_SIGNAL_MS = 1_000;

/**
 * Calls `end` for each of them, and removes all other listeners, such as Miniflare's, which exit at once. A SIGHUP
 * ignored because of `nohup` stays ignored.
 */
export function onEndSignal(end: (signal: NodeJS.Signals) => void): void {
  const signals: NodeJS.Signals[] = ["SIGINT", "SIGTERM"];
  if (!ignoresHangup()) signals.push("SIGHUP");
  for (const signal of signals) {
    process.removeAllListeners(signal);
    process.on(signal, end);
  }
}

/** The first signal requests the end; another Ctrl-C ends at once. */
export function askedTwice(
  ask: () => void,
  atOnce: () => void,
): (signal: NodeJS.Signals) => void {
  let askedMs: number | undefined;
  return (signal) => {
    if (askedMs === undefined) {
      askedMs = Date.now();
      ask();
    } else if (signal === "SIGINT" && Date.now() - askedMs > ONE_SIGNAL_MS) {
      atOnce();
    }
  };
}

/** Known on Linux. Elsewhere guessed from the terminal: `nohup` redirects the output. */
function ignoresHangup(): boolean {
  if (process.platform !== "linux") return !process.stdout.isTTY;
  const status = readFileSync("/proc/self/status", "utf8");
  const [, ignored = "0"] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(status) ?? [];
  return (BigInt(`0x${ignored}`) & HANGUP_BIT) !== 0n;
}
