/** Server-sent events: first those after Last-Event-ID, then each new one. */
import type { RunEvent } from "../../api/run-metrics.ts";
import type { EventLog } from "./event-log.ts";

const HEARTBEAT_MS = 15_000;
/** The longest life of a stream, since a reader that is gone cannot be detected. EventSource reconnects by itself. */
const MAX_STREAM_MS = 5 * 60_000;
const PAGE_EVENTS = 100;

/** The stream closes when the run has ended and its last event was sent. */
export function eventStream(
  log: EventLog,
  lastEventId: number,
  hasEnded: () => boolean,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const endMs = Date.now() + MAX_STREAM_MS;
  let last = lastEventId;
  return new ReadableStream({
    start(controller) {
      controller.enqueue(encoder.encode("retry: 500\n\n"));
    },
    // Only pulled when the reader has room, so a slow reader costs nothing.
    async pull(controller) {
      let events = log.after(last, PAGE_EVENTS);
      if (events.length === 0) {
        if (hasEnded() || Date.now() >= endMs) {
          controller.close();
          return;
        }
        await log.next(HEARTBEAT_MS);
        events = log.after(last, PAGE_EVENTS);
      }
      last = events.at(-1)?.id ?? last;
      const text = events.map(toText).join("") || ": still here\n\n";
      controller.enqueue(encoder.encode(text));
    },
  });
}

function toText(event: RunEvent): string {
  return `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}
