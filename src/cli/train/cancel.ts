/** How a run on this machine is ended early. */
import pc from "picocolors";
import { askedTwice } from "../../local/signals.ts";
import type { Progress } from "../progress.ts";

/** As a shell reports an end by Ctrl-C. */
export const INTERRUPTED = 130;
/** A run that was told to end and its checkpoint have so long, so that nothing is left after 5 s. */
const END_MS = 4_000;

/**
 * The first signal asks the run to end, another Ctrl-C ends this process; its runtimes go with it.
 */
export function cancelOnce(
  progress: Progress,
  cancel: () => Promise<unknown>,
): (signal: NodeJS.Signals) => void {
  const atOnce = (): never => process.exit(INTERRUPTED);
  return askedTwice(() => {
    progress.warn(pc.yellow("cancelling; Ctrl-C again to end at once"));
    // A run that has ended already goes on to its own end.
    cancel().catch(() => undefined);
    setTimeout(() => {
      progress.warn(
        pc.red(`the run did not end within ${END_MS / 1000} s: no checkpoint`),
      );
      atOnce();
    }, END_MS);
  }, atOnce);
}
