/** SHA-256 of bytes in the bucket, as they go by. */
import { hex } from "../../api/digest.ts";
import { AppError } from "../../api/errors.ts";

/** From the file's first byte. */
export type DigestedRange = { start: number; end: number };

/**
 * In hexadecimal, of ranges that follow one another. One read brings all of them: a model has thousands of
 * tensors, and an object is allowed fewer reads.
 * Errors: `file_changed` for another version
 */
export async function* fileDigests(
  bucket: R2Bucket,
  key: string,
  etag: string,
  ranges: readonly DigestedRange[],
): AsyncGenerator<string> {
  let at = ranges[0]!.start;
  const length = ranges.at(-1)!.end - at;
  const reader =
    length > 0
      ? (await bodyOf(bucket, key, etag, { offset: at, length })).getReader()
      : undefined;
  let chunk = new Uint8Array(0);
  try {
    for (const { start, end } of ranges) {
      const stream = new crypto.DigestStream("SHA-256");
      const writer = stream.getWriter();
      while (at < end) {
        if (chunk.length === 0) chunk = (await reader!.read()).value!;
        const isBefore = at < start;
        const part = chunk.subarray(0, (isBefore ? start : end) - at);
        if (!isBefore) await writer.write(part);
        chunk = chunk.subarray(part.length);
        at += part.length;
      }
      await writer.close();
      yield hex(await stream.digest);
    }
  } finally {
    await reader?.cancel();
  }
}

async function bodyOf(
  bucket: R2Bucket,
  key: string,
  etag: string,
  range: { offset: number; length: number },
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const onlyIf = { etagMatches: etag };
  const object = await bucket.get(key, { range, onlyIf });
  if (object && "body" in object) return object.body;
  throw new AppError(
    "file_changed",
    `Expected ${key} as it was written, got another`,
  );
}
