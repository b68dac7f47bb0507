/** Tensor bodies as callers give them: the length must be known before the first byte. */
import { AppError } from "./errors.ts";
import { shown } from "./option-kinds.ts";
import type { TensorBody } from "./tensors.ts";

/** Data that can be read again, or a stream that cannot. */
export type CheckedBody =
  | { data: Uint8Array<ArrayBuffer> | Blob }
  | { data?: never; stream: ReadableStream<Uint8Array>; bytes: number };

/** Errors: `malformed_body` */
export function checkBody(body: TensorBody): CheckedBody {
  if (body instanceof Blob) return { data: body };
  const view = viewOf(body);
  if (view) return { data: view };
  if (typeof body === "string")
    throw malformed(
      `the text ${shown(body)}; of a file, give openAsBlob(path)`,
    );
  if (isStream(body))
    throw malformed("a stream alone; say how long it is: { stream, bytes }");
  if (typeof body !== "object" || body === null || !("stream" in body))
    throw malformed(shown(body));
  const { stream, bytes } = body;
  if (!isStream(stream)) throw malformed(`\`stream\` as ${shown(stream)}`);
  if (!Number.isSafeInteger(bytes) || bytes < 0)
    throw malformed(`\`bytes\` as ${shown(bytes)}`);
  if (stream.locked) throw malformed("a stream that has a reader already");
  return { stream, bytes };
}

/** Any body as a stream. Errors: as `checkBody` */
export function openBody(body: TensorBody): {
  stream: ReadableStream<Uint8Array>;
  bytes: number;
} {
  const checked = checkBody(body);
  if (!checked.data) return checked;
  const blob = new Blob([checked.data]);
  return { stream: blob.stream(), bytes: blob.size };
}

/** Cancels the unread stream, if any, of a body that is refused. */
export async function releaseBody(body: unknown): Promise<void> {
  const stream = (body as { stream?: unknown } | null | undefined)?.stream;
  // Streams that have failed or have another reader are left alone.
  if (isStream(stream) && !stream.locked) await stream.cancel().catch(() => {});
}

function viewOf(body: unknown): Uint8Array<ArrayBuffer> | undefined {
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  if (!ArrayBuffer.isView(body)) return undefined;
  const { buffer, byteOffset, byteLength } = body;
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  // Shared memory is copied, since other threads may write to it.
  return buffer instanceof ArrayBuffer
    ? (bytes as Uint8Array<ArrayBuffer>)
    : bytes.slice();
}

function isStream(value: unknown): value is ReadableStream<Uint8Array> {
  return value instanceof ReadableStream;
}

function malformed(got: string): AppError {
  return new AppError(
    "malformed_body",
    `Expected bytes (an ArrayBuffer or a view of one), a Blob, or a stream with its length in bytes, got ${got}`,
  );
}
