/** Bytes in order, wherever they come from: a request, a file, an object in a bucket. */
import { AppError } from "../../api/errors.ts";

export interface ByteSource {
  /**
   * Exactly the next `bytes`. They may be overwritten at the next call.
   * Errors: `malformed_body` when fewer come
   */
  take(bytes: number): Promise<Uint8Array>;
}

/** Bytes that are in memory. */
export function sourceOf(whole: Uint8Array): ByteSource {
  let position = 0;
  return {
    async take(bytes) {
      const end = position + bytes;
      if (end > whole.length) throw endedEarly(bytes, whole.length - position);
      const taken = whole.subarray(position, end);
      position = end;
      return taken;
    },
  };
}

export function endedEarly(wanted: number, got: number): AppError {
  return new AppError(
    "malformed_body",
    `Expected ${wanted} more bytes, as the length of the body says, got ${got}`,
  );
}
