/** Bodies of tensors, as they are sent. */
import { checkBody } from "../api/tensor-body.ts";
import type { TensorBody } from "../api/tensors.ts";
import type { RequestOptions } from "./http.ts";

/** Workers declare a length by this, and take no header for it. */
declare const FixedLengthStream:
  (new (bytes: number) => TransformStream<Uint8Array, Uint8Array>) | undefined;

/** An answer begins when the body's head is read, so nothing is timed. Errors: `malformed_body` */
export function sendBody(body: TensorBody): RequestOptions {
  const headers = { "Content-Type": "application/octet-stream" };
  const checked = checkBody(body);
  if (checked.data) return { body: checked.data, headers, timeoutMs: 0 };
  const { stream, bytes } = checked;
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
