/** A text as it is written, to a client: as it is, or as server-sent events. */
import { AppError } from "../../api/errors.ts";
import type { TextEnding, TextEvent } from "../../api/generation.ts";

export type TextForm = "text" | "sse";

export const TEXT_TYPES: Record<TextForm, string> = {
  text: "text/plain; charset=utf-8",
  sse: "text/event-stream",
};

/**
 * `release` is called once, whether the text ends, fails or its reader leaves. The first piece is written before this
 * returns, so that what is refused is answered as a problem.
 */
export async function textStream(
  writing: AsyncGenerator<string, TextEnding>,
  form: TextForm,
  release: () => void,
): Promise<ReadableStream<Uint8Array>> {
  const encoder = new TextEncoder();
  const encode = (event: TextEvent): Uint8Array => {
    if (form === "sse")
      return encoder.encode(`data: ${JSON.stringify(event)}\n\n`);
    return encoder.encode("text" in event ? event.text : "");
  };
  let isReleased = false;
  const end = (): void => {
    if (!isReleased) release();
    isReleased = true;
  };
  let first: IteratorResult<string, TextEnding> | undefined;
  try {
    first = await writing.next();
  } catch (error) {
    end();
    throw error;
  }
  return new ReadableStream({
    async pull(controller) {
      try {
        // A call that enqueues nothing would be the last.
        for (;;) {
          const { value, done } = first ?? (await writing.next());
          first = undefined;
          const bytes = encode(done ? value : { text: value });
          if (bytes.length > 0) controller.enqueue(bytes);
          if (done) {
            end();
            controller.close();
          }
          if (done || bytes.length > 0) return;
        }
      } catch (error) {
        end();
        if (form === "sse" && error instanceof AppError) {
          const { code, message: detail } = error;
          const event = `event: error\ndata: ${JSON.stringify({ code, detail })}\n\n`;
          controller.enqueue(encoder.encode(event));
          controller.close();
        } else controller.error(error);
      }
    },
    async cancel() {
      await writing.return({ reason: "stop", promptTokens: 0, tokens: 0 });
      end();
    },
  });
}
