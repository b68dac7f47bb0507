/** A text as it is written, to a client: as it is, or as server-sent events. */
import { AppError } from "../../api/errors.ts";
import type { TextEnding, TextEvent } from "../../api/generation.ts";

export type TextForm = "text" | "sse";

export const TEXT_TYPES: Record<TextForm, string> = {
  text: "text/plain; charset=utf-8",
  sse: "text/event-stream",
};

/**
 * `release` is called once, whether the text ends, fails or its reader leaves: the request lasts until then. One whose
 * stream is pulled would end with its reader, and never hear of it. The first piece is made before this returns, so that
 * what is refused is answered as a problem.
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
  // The writes tell of it.
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

/** What failed is told as an event, where the form has any and the reader is still there. */
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
