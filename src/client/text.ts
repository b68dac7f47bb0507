/** Reads generated text from an edge's event stream. */
import { AppError, type ErrorCode } from "../api/errors.ts";
import type { GenerateRequest, TextEvent } from "../api/generation.ts";
import { BrokenOff } from "./broken-off.ts";
import { blocksOf } from "./events.ts";
import type { Http } from "./http.ts";

/** Pieces of text, and finally how it ended. Errors: those of the edge; `BrokenOff` */
export async function* readTextEvents(
  http: Http,
  path: string,
  request: GenerateRequest & { model?: string },
): AsyncGenerator<TextEvent> {
  const response = await http.request("POST", path, {
    body: JSON.stringify(request),
    headers: {
      "Content-Type": "application/json",
      Accept: "text/event-stream",
    },
    // A large model has to be loaded first.
    timeoutMs: 0,
  });
  for await (const block of blocksOf(response.body!)) {
    const data = /^data: (.*)$/m.exec(block)?.[1];
    if (data === undefined) continue;
    const event = JSON.parse(data) as TextEvent;
    if (block.startsWith("event: error")) {
      const { code, detail } = event as unknown as {
        code: ErrorCode;
        detail: string;
      };
      throw new AppError(code, detail);
    }
    yield event;
    if (!("text" in event)) return;
  }
  throw new BrokenOff("a complete text", "a stream that broke off");
}
