/** Explains a run's state to the user: what it waits for, and what may help. */
import type { RunStatus } from "../../api/run-status.ts";
import { counted } from "../shell/format.ts";

/** A trainer not heard of for this long may be gone. */
const SILENT_MS = 60_000;

export function stateWords(status: RunStatus, nowMs: number): string {
  const { state, step, config, trainers } = status;
  switch (state) {
    case "running": {
      if (trainers.length === 0)
        return "It waits for trainers: add one, join yourself, or send an invitation.";
      const silentMs =
        nowMs - Math.max(...trainers.map(({ lastSeenMs }) => lastSeenMs));
      if (silentMs > SILENT_MS)
        return `No trainer has been heard of for ${counted(Math.floor(silentMs / SILENT_MS), "minute")}: add one, or join yourself.`;
      return step === config.steps
        ? "All its updates are made; the last evaluation is under way."
        : "";
    }
    case "paused":
      return "Trainers are given nothing to compute until it is resumed.";
    case "cancelled":
      return "It was ended early, and keeps its parameters.";
    case "diverged":
      return "A gradient was not finite, so it ended; it keeps the parameters before that. What may help: a lower learning rate, or a recipe that rounds less.";
    case "finished":
      return "";
  }
}
