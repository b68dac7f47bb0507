/** The signals that ask a command to end. */
import { readFileSync } from "node:fs";

const HANGUP_BIT = 1n << 0n;
/** One Ctrl-C may come twice: from the terminal, and from npm. */
const ONE_SIGNAL_MS = 1_000;

/**
 * Call `end` for each of them, and nothing else: whatever listened goes, such as Miniflare's listeners,
 * which exit at once. A hang-up that `nohup` has this process ignore stays ignored.
 */
export function onEndSignal(end: (signal: NodeJS.Signals) => void): void {
  const signals: NodeJS.Signals[] = ["SIGINT", "SIGTERM"];
  if (!ignoresHangup()) signals.push("SIGHUP");
  for (const signal of signals) {
    process.removeAllListeners(signal);
    process.on(signal, end);
  }
}

/** The first signal asks to end, another Ctrl-C ends at once. */
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

/** Linux tells. Elsewhere a terminal does: `nohup` takes the output away from it. */
function ignoresHangup(): boolean {
  if (process.platform !== "linux") return !process.stdout.isTTY;
  const status = readFileSync("/proc/self/status", "utf8");
  const [, ignored = "0"] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(status) ?? [];
  return (BigInt(`0x${ignored}`) & HANGUP_BIT) !== 0n;
}
