/** Bodies of tensors: all have a length, which the API needs before the first byte. */
import type { RequestOptions } from "./http.ts";

/**
 * A file of tensors. A Blob may be a file that is not in memory (`fs.openAsBlob`). Browsers do not send
 * streams with a length: give them a Blob.
 */
export type TensorBody =
  | Uint8Array<ArrayBuffer>
  | Blob
  | { stream: ReadableStream<Uint8Array>; bytes: number };

/** Workers declare a length by this, and take no header for it. */
declare const FixedLengthStream:
  (new (bytes: number) => TransformStream<Uint8Array, Uint8Array>) | undefined;

/** How it is sent. An answer begins when the body's head is read, so nothing is timed. */
export function sendBody(body: TensorBody): RequestOptions {
  const headers = { "Content-Type": "application/octet-stream" };
  if (body instanceof Uint8Array || body instanceof Blob)
    return { body, headers, timeoutMs: 0 };
  const { stream, bytes } = body;
  // A stream is gone once it has been sent.
  const once = { isOnce: true, timeoutMs: 0 };
  if (typeof FixedLengthStream === "function") {
    const fixed = stream.pipeThrough(new FixedLengthStream(bytes));
    return { body: fixed, headers, ...once };
  }
  return {
    body: stream,
    headers: { ...headers, "Content-Length": String(bytes) },
    ...once,
  };
}
