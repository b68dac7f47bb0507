/** Follows a run by its events. */
import type { RunEvent } from "../api/run-metrics.ts";
import type { RunState } from "../api/run-status.ts";
import type { RunClient } from "../client/run-client.ts";

export type Listener = { event(event: RunEvent): unknown };

/** Passes events to the listeners until the run has ended; returns its final state. */
export async function follow(
  run: RunClient,
  listeners: readonly Listener[],
): Promise<RunState> {
  let state: RunState = "running";
  for await (const event of run.events()) {
    for (const listener of listeners) listener.event(event);
    if (event.type === "state") state = event.state;
  }
  return state;
}
