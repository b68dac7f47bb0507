/** How a run on this machine is ended early. */
import pc from "picocolors";
import { askedTwice, INTERRUPTED } from "../../local/signals.ts";
import { hasLostCaller } from "../newer-node.ts";
import type { Progress } from "../progress.ts";

/** Time for the run to end and its checkpoint to be saved, so that nothing remains after 5 s. */
const END_MS = 4_000;

/**
 * The first signal cancels the run; another Ctrl-C ends this process, and its runtimes with it. Where the older Node that
 * runs the command was killed, the run stays as it is: the same command continues it.
 */
export function cancelOnce(
  progress: Progress,
  cancel: () => Promise<unknown>,
): (signal: NodeJS.Signals) => void {
  const atOnce = (): never => process.exit(INTERRUPTED);
  return askedTwice(() => {
    if (hasLostCaller()) atOnce();
    progress.warn(pc.yellow("cancelling; Ctrl-C again to end at once"));
    // A run that has ended already completes normally.
    cancel().catch(() => undefined);
    setTimeout(() => {
      progress.warn(
        pc.red(`the run did not end within ${END_MS / 1000} s: no checkpoint`),
      );
      atOnce();
    }, END_MS);
  }, atOnce);
}
