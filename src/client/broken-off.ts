/** Errors for missing and incomplete responses. */
import { AppError } from "../api/errors.ts";
import { reasonOf } from "./retry.ts";

/** `unavailable`: no response from a URL. */
export class Unanswered extends AppError {
  constructor(baseUrl: string, cause: unknown) {
    const why = `Expected an answer from ${baseUrl}, got none: ${reasonOf(cause)}`;
    super("unavailable", why, { cause });
  }
}

/** `unavailable`: a response broke off. */
export class BrokenOff extends AppError {
  constructor(expected: string, got: string, cause?: unknown) {
    super("unavailable", `Expected ${expected}, got ${got}`, { cause });
  }
}

/** Reads a response's bytes, a piece at a time. */
type Pieces = {
  /** Undefined after the last. Errors: `BrokenOff` if the connection ended, or brought fewer bytes than declared */
  next(): Promise<Uint8Array<ArrayBuffer> | undefined>;
  cancel(reason?: unknown): Promise<void>;
};

export function answerPieces({ headers, body }: Response): Pieces {
  // A decompressed body is longer than its declared length.
  const isPlain = !headers.has("Content-Encoding");
  const declared = isPlain ? headers.get("Content-Length") : null;
  const expected =
    declared === null ? "an answer to its end" : `${declared} bytes`;
  let bytes = 0;
  // Not every browser iterates over a stream.
  const reader = body?.getReader();
  return {
    async next() {
      const piece = await reader?.read().catch((cause: unknown) => {
        // A more specific error is passed on.
        if (cause instanceof AppError) throw cause;
        const got = `${bytes} and a connection that ended: ${reasonOf(cause)}`;
        throw new BrokenOff(expected, got, cause);
      });
      bytes += piece?.value?.length ?? 0;
      const isOver = piece === undefined || piece.done;
      if (isOver && declared !== null && bytes !== Number(declared))
        throw new BrokenOff(expected, `${bytes}`);
      return piece?.value;
    },
    cancel: async (reason) => reader?.cancel(reason),
  };
}

/** All pieces. Errors: as `Pieces.next` */
export async function* bytesOf(
  response: Response,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const pieces = answerPieces(response);
  try {
    for (;;) {
      const piece = await pieces.next();
      if (piece === undefined) break;
      yield piece;
    }
  } finally {
    // A body that failed cannot and need not be cancelled.
    await pieces.cancel().catch(() => {});
  }
}

/** The whole body. Errors: as `bytesOf` */
export async function wholeOf(
  response: Response,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  for await (const chunk of bytesOf(response)) chunks.push(chunk);
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}
