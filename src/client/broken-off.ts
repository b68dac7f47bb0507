/** Answers that do not come, and that end before they are whole. */
import { AppError } from "../api/errors.ts";
import { reasonOf } from "./retry.ts";

/** `unavailable`, where nothing answers at a URL. */
export class Unanswered extends AppError {
  constructor(baseUrl: string, cause: unknown) {
    const why = `Expected an answer from ${baseUrl}, got none: ${reasonOf(cause)}`;
    super("unavailable", why, { cause });
  }
}

/** `unavailable`, amid an answer that had begun. */
export class BrokenOff extends AppError {
  constructor(expected: string, got: string, cause?: unknown) {
    super("unavailable", `Expected ${expected}, got ${got}`, { cause });
  }
}

/** The bytes of an answer. Errors: `BrokenOff`, the connection ended, or brought fewer than were declared */
export async function* bytesOf(
  response: Response,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { headers, body } = response;
  // What came compressed is longer than it was declared.
  const isPlain = !headers.has("Content-Encoding");
  const declared = isPlain ? headers.get("Content-Length") : null;
  const expected =
    declared === null ? "an answer to its end" : `${declared} bytes`;
  let bytes = 0;
  // Not every browser iterates over a stream.
  const reader = body?.getReader();
  try {
    while (reader) {
      const { value, done } = await reader.read().catch((cause: unknown) => {
        const got = `${bytes} and a connection that ended: ${reasonOf(cause)}`;
        throw new BrokenOff(expected, got, cause);
      });
      if (done) break;
      bytes += value.length;
      yield value;
    }
  } finally {
    // One that failed cannot be cancelled, and need not be.
    await reader?.cancel().catch(() => {});
  }
  if (declared !== null && bytes !== Number(declared))
    throw new BrokenOff(expected, `${bytes}`);
}

/** All of them. Errors: as `bytesOf` */
export async function wholeOf(
  response: Response,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  for await (const chunk of bytesOf(response)) chunks.push(chunk);
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}
