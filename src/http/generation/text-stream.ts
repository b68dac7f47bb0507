/** Streams generated text to a client, as plain text or as server-sent events. */
import { AppError } from "../../api/errors.ts";
import type { TextEnding, TextEvent } from "../../api/generation.ts";

export type TextForm = "text" | "sse";

export const TEXT_TYPES: Record<TextForm, string> = {
  text: "text/plain; charset=utf-8",
  sse: "text/event-stream",
};

/**
 * `release` is called once, whether the text ends, fails, or the client disconnects; `waitUntil` keeps the request
 * alive until then (with a stream that is pulled, it would end unnoticed with the client). The first piece is generated
 * before this returns, so that errors are answered as a problem document.
 */
export async function textStream(
  request: Pick<ExecutionContext, "waitUntil">,
  writing: AsyncGenerator<string, TextEnding>,
  form: TextForm,
  release: () => void,
): Promise<ReadableStream<Uint8Array>> {
  let first: IteratorResult<string, TextEnding>;
  try {
    first = await writing.next();
  } catch (error) {
    release();
    throw error;
  }
  const { readable, writable } = new IdentityTransformStream();
  const written = write(writing, first, form, writable.getWriter());
  request.waitUntil(written.finally(release));
  return readable;
}

async function write(
  writing: AsyncGenerator<string, TextEnding>,
  first: IteratorResult<string, TextEnding>,
  form: TextForm,
  writer: WritableStreamDefaultWriter<Uint8Array>,
): Promise<void> {
  const encoder = new TextEncoder();
  const encode = (event: TextEvent): Uint8Array => {
    if (form === "sse")
      return encoder.encode(`data: ${JSON.stringify(event)}\n\n`);
    return encoder.encode("text" in event ? event.text : "");
  };
  // Failures are reported by the writes.
  writer.closed.catch(() => {});
  try {
    for (let step = first; ; step = await writing.next()) {
      const bytes = encode(step.done ? step.value : { text: step.value });
      if (bytes.length > 0) await writer.write(bytes);
      if (step.done) break;
    }
    await writer.close();
  } catch (error) {
    await breakOff(error, form, writer, encoder);
  }
}

/** Sends an error as an event, if the form has events and the client is still connected. */
async function breakOff(
  error: unknown,
  form: TextForm,
  writer: WritableStreamDefaultWriter<Uint8Array>,
  encoder: TextEncoder,
): Promise<void> {
  try {
    if (form !== "sse" || !(error instanceof AppError)) throw error;
    const { code, message: detail } = error;
    const event = `event: error\ndata: ${JSON.stringify({ code, detail })}\n\n`;
    await writer.write(encoder.encode(event));
    await writer.close();
  } catch (reason) {
    await writer.abort(reason).catch(() => {});
  }
}
