/** SHA-256 of ranges of a file in the bucket, computed as it is read. */
import { hex } from "../../api/digest.ts";
import { AppError } from "../../api/errors.ts";

/** Offsets from the start of the file. */
export type DigestedRange = { start: number; end: number };

/**
 * The digest of each range in hexadecimal; ranges are in order and do not overlap. Uses a single read: a model has
 * thousands of tensors, and an object may only make so many reads. Errors: `file_changed` if the file has another
 * version
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
    `Expected ${key} as the job wrote it, got another version`,
  );
}
