/** A body of a declared length, which shows that it is not whole: a stream without one ends alike, whether it failed or not. */

/**
 * `bytes` bytes of `chunks`. What fails, as where a pin is gone or a run went back meanwhile, breaks the body off; the request
 * lasts until then.
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
 * `chunks`, the first of which are taken before anything is answered, until `isBegun`: what fails by then is refused in
 * its own words.
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
  // The writes tell of it.
  writer.closed.catch(() => {});
  try {
    for await (const chunk of chunks)
      if (chunk.length > 0) await writer.write(chunk);
    await writer.close();
  } catch (error) {
    await writer.abort(error).catch(() => {
      // The reader has left, so there is nobody to tell.
    });
  }
}
