/** A network between a trainer and the edge that does to requests what a schedule says. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Fetcher } from "../../src/client/http.ts";
import type { NetworkFaults } from "./schedule.ts";

/** Told before each request, may hold it back, and ends the trainer by throwing `Killed`. */
export type OnRequest = () => Promise<void>;

/** The trainer is gone: nothing that it awaits comes any more. */
export class Killed extends Error {}

export function faultyNetwork(
  faults: NetworkFaults,
  random: () => number,
  onRequest: OnRequest,
): Fetcher {
  const happens = (share: number) => random() < share;
  return {
    async fetch(url, init = {}) {
      await onRequest();
      const { drop, lose, repeat, truncate, delayMs } = faults;
      if (delayMs > 0) await sleep(random() * delayMs);
      if (happens(drop)) throw new TypeError("chaos: dropped");
      if (happens(repeat)) void again(url, init, random() * 30);
      if (happens(truncate) && init.body instanceof Uint8Array)
        return fetch(url, { ...init, ...cut(init.body) });
      const response = await fetch(url, init);
      if (happens(lose)) {
        await response.body?.cancel();
        throw new TypeError("chaos: the answer was lost");
      }
      return happens(truncate) ? broken(response) : response;
    },
  };
}

/** Later, by nobody who waits for it. */
async function again(
  url: string,
  init: RequestInit,
  afterMs: number,
): Promise<void> {
  await sleep(afterMs);
  const { signal: _signal, ...rest } = init;
  // Whether it arrives does not matter.
  const response = await fetch(url, rest).catch(() => undefined);
  await response?.body?.cancel().catch(() => {});
}

/** A body that breaks off. */
function cut(body: Uint8Array): RequestInit {
  let isBegun = false;
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (isBegun) controller.error(new TypeError("chaos: broke off"));
      else controller.enqueue(body.slice(0, body.length >> 1));
      isBegun = true;
    },
  });
  return { body: stream, duplex: "half" } as RequestInit;
}

/** The answer, without the second half of its body. */
async function broken(response: Response): Promise<Response> {
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (bytes.length === 0) return response;
  const { status, headers } = response;
  return new Response(cut(bytes).body, { status, headers });
}
