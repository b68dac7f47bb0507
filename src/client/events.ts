/** Reads server-sent events, reconnecting as often as necessary. */
import { AppError } from "../api/errors.ts";
import { shown } from "../api/option-kinds.ts";
import type { RunEvent } from "../api/run-metrics.ts";
import type { Http } from "./http.ts";
import { pause, pauseMs } from "./retry.ts";

const NO_CONTENT = 204;
const EVENT_STREAM = "text/event-stream";
/** The server sends something every 15 seconds; a connection silent for longer is dead, as after a laptop's sleep. */
const SILENCE_MS = 45_000;

/**
 * The events after `lastEventId`; returns when the server says that there are no more. Errors: `malformed_body`,
 * `malformed_json` for an invalid event; `unavailable` if connections succeed but bring no events
 */
export async function* readEvents(
  http: Http,
  path: string,
  lastEventId: number,
): AsyncGenerator<RunEvent> {
  let last = lastEventId;
  let silentMs: number | undefined; // since when connections tell nothing
  for (let failures = 0; ;) {
    http.signal?.throwIfAborted();
    const response = await http.request("GET", path, {
      headers: { "Last-Event-ID": String(last) },
      // The stream lasts minutes.
      timeoutMs: 0,
    });
    if (response.status === NO_CONTENT || !response.body) return;
    checkType(response);
    let cause: unknown;
    try {
      for await (const block of blocksOf(response.body)) {
        failures = 0;
        silentMs = undefined;
        const event = eventOf(block);
        if (!event) continue;
        last = event.id;
        yield event;
      }
    } catch (error) {
      // Reconnecting would bring the same.
      if (error instanceof AppError) throw error;
      cause = error;
    }
    // The connection ended or broke: the next one continues after the last event received.
    silentMs ??= Date.now();
    if (Date.now() - silentMs > http.patienceMs) {
      throw new AppError(
        "unavailable",
        `Expected events from ${path}, got connections that end without any`,
        { cause },
      );
    }
    await pause(pauseMs(failures++), http.signal);
  }
}

function checkType(response: Response): void {
  const type = response.headers.get("Content-Type") ?? EVENT_STREAM;
  if (type.startsWith(EVENT_STREAM)) return;
  throw new AppError("malformed_body", `Expected ${EVENT_STREAM}, got ${type}`);
}

/** Splits a stream into events and comments, which end with an empty line. */
export async function* blocksOf(
  body: ReadableStream<Uint8Array>,
): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of unlessSilent(body)) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split(
      "\n\n",
    );
    rest = parts.pop()!;
    yield* parts;
  }
}

/** Ends with the body, or if nothing arrives for too long. */
async function* unlessSilent(
  body: ReadableStream<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { value, done } = await beforeSilence(reader);
      if (done) return;
      yield value;
    }
  } finally {
    // A body that failed cannot and need not be cancelled.
    await reader.cancel().catch(() => {});
  }
}

async function beforeSilence(
  reader: ReadableStreamDefaultReader<Uint8Array>,
): Promise<Awaited<ReturnType<typeof reader.read>>> {
  const timer = setTimeout(() => {
    reader.cancel().catch(() => {});
  }, SILENCE_MS);
  try {
    return await reader.read();
  } finally {
    clearTimeout(timer);
  }
}

/** Undefined for a comment. Errors: `malformed_json` */
function eventOf(block: string): RunEvent | undefined {
  const line = block.split("\n").find((text) => text.startsWith("data: "));
  if (line === undefined) return undefined;
  const text = line.slice("data: ".length);
  const event = parsed(text);
  if (Number.isSafeInteger(event?.id)) return event;
  throw new AppError(
    "malformed_json",
    `Expected an event in JSON with a numeric \`id\`, got ${shown(text)}`,
  );
}

function parsed(text: string): RunEvent | undefined {
  try {
    return JSON.parse(text) as RunEvent;
  } catch {
    return undefined; // not JSON, so not an event
  }
}
