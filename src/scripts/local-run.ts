/** A run of the edge on this machine: asked for, and followed until it has ended. */
import type {
  RunEvent,
  RunRequest,
  RunState,
  RunStatus,
} from "../api/types.ts";
import type { Client } from "../client/client.ts";
import type { RunClient } from "../client/run-client.ts";

export type Listener = { event(event: RunEvent): unknown };

/** A run over `text`, which becomes the corpus that the request names. */
export async function createRun(
  client: Client,
  text: Blob,
  request: RunRequest,
): Promise<{ run: RunClient; status: RunStatus }> {
  await client.putDataset(request.dataset, text);
  const status = await client.createRun(request);
  return { run: client.run(status.run), status };
}

/** Give the listeners what comes, until the run has ended; returns how. */
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
