/** Request bodies with tensors. */
import { checkBody } from "../api/tensor-body.ts";
import type { TensorBody } from "../api/tensors.ts";
import type { RequestOptions } from "./http.ts";

/** In Workers, the way to declare a body's length; they ignore the header. */
declare const FixedLengthStream:
  (new (bytes: number) => TransformStream<Uint8Array, Uint8Array>) | undefined;

/** No timeout, since the response only begins when the body's header has been read. Errors: `malformed_body` */
export function sendBody(body: TensorBody): RequestOptions {
  const headers = { "Content-Type": "application/octet-stream" };
  const checked = checkBody(body);
  if (checked.data) return { body: checked.data, headers, timeoutMs: 0 };
  const { stream, bytes } = checked;
  // A stream can only be sent once.
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
