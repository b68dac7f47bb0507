/** SHA-256 of bytes in the bucket, as they go by. */
import { hex } from "../../api/digest.ts";
import { AppError } from "../../api/errors.ts";

/** In hexadecimal. Errors: `file_changed` for another version */
export async function fileDigest(
  bucket: R2Bucket,
  key: string,
  etag: string,
  range: { offset: number; length: number },
): Promise<string> {
  const stream = new crypto.DigestStream("SHA-256");
  if (range.length > 0) {
    const object = await bucket.get(key, {
      range,
      onlyIf: { etagMatches: etag },
    });
    if (!object || !("body" in object))
      throw new AppError(
        "file_changed",
        `Expected ${key} as it was written, got another`,
      );
    await object.body.pipeTo(stream);
  } else {
    await stream.getWriter().close();
  }
  return hex(await stream.digest);
}
