/** Reads server-sent events, over as many connections as it takes. */
import type { RunEvent } from "../api/types.ts";
import type { Http } from "./http.ts";
import { pause, pauseMs } from "./retry.ts";

const NO_CONTENT = 204;

/** The events after `lastEventId`; returns when the server says that there are no more. */
export async function* readEvents(
  http: Http,
  path: string,
  lastEventId: number,
): AsyncGenerator<RunEvent> {
  let last = lastEventId;
  for (let failures = 0; ;) {
    http.signal?.throwIfAborted();
    const response = await http.request("GET", path, {
      headers: { "Last-Event-ID": String(last) },
      // The stream goes on for minutes.
      timeoutMs: 0,
    });
    if (response.status === NO_CONTENT || !response.body) return;
    try {
      for await (const event of parseEvents(response.body)) {
        last = event.id;
        failures = 0;
        yield event;
      }
    } catch {
      // The connection broke: the next one goes on after the last event that came.
      await pause(pauseMs(failures++), http.signal);
    }
  }
}

async function* parseEvents(
  body: ReadableStream<Uint8Array>,
): AsyncGenerator<RunEvent> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of body) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split(
      "\n\n",
    );
    rest = parts.pop()!;
    for (const part of parts) {
      const line = part.split("\n").find((text) => text.startsWith("data: "));
      if (line) yield JSON.parse(line.slice("data: ".length)) as RunEvent;
    }
  }
}
