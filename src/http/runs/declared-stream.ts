/**
 * Response bodies with a declared length, by which a client detects that a body is incomplete: without it, a stream
 * that fails ends like a complete one.
 */

/**
 * Streams `bytes` bytes of `chunks`. A failure, e.g. if the run was rewound meanwhile, breaks the body off; `waitUntil`
 * keeps the request alive until the end.
 */
export function declaredStream(
  request: Pick<ExecutionContext, "waitUntil">,
  bytes: number,
  chunks: AsyncGenerator<Uint8Array>,
): ReadableStream<Uint8Array> {
  const { readable, writable } = new FixedLengthStream(bytes);
  request.waitUntil(pump(chunks, writable.getWriter()));
  return readable;
}

/**
 * Takes chunks until `isBegun` before anything is answered, so that failures until then are answered as problem
 * documents.
 */
export async function begun(
  chunks: AsyncGenerator<Uint8Array>,
  isBegun: () => boolean,
): Promise<AsyncGenerator<Uint8Array>> {
  const taken: Uint8Array[] = [];
  while (!isBegun()) {
    const { value, done } = await chunks.next();
    if (done) break;
    taken.push(value);
  }
  return (async function* () {
    try {
      yield* taken;
      yield* chunks;
    } finally {
      await chunks.return(undefined);
    }
  })();
}

async function pump(
  chunks: AsyncGenerator<Uint8Array>,
  writer: WritableStreamDefaultWriter<Uint8Array>,
): Promise<void> {
  // Failures are reported by the writes.
  writer.closed.catch(() => {});
  try {
    for await (const chunk of chunks)
      if (chunk.length > 0) await writer.write(chunk);
    await writer.close();
  } catch (error) {
    await writer.abort(error).catch(() => {
      // The client has left.
    });
  }
}
