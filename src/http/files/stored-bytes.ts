/** What routes of stored bytes share: corpora and files come, are read by range, and go alike. */
import type { ErrorCode } from "../../api/errors.ts";
import { text } from "../declaration/parameter.ts";
import type { Answer } from "../declaration/route.ts";
import type { ByteRange } from "./byte-range.ts";

const BINARY = "application/octet-stream";

export const UPLOAD_ERRORS: readonly ErrorCode[] = [
  "malformed_body",
  "length_required",
  "body_too_large",
  "invalid_name",
];

export const GONE: Record<number, Answer> = { 204: { description: "Gone" } };

export const RANGE = {
  Range: text("One range of bytes, as in `bytes=0-4095`", /^bytes=\d*-\d*$/),
};

/** All of it, or the range; `etag` says what the ETag is. */
export function rangedAnswers(etag: string): Record<number, Answer> {
  return {
    200: {
      description: "All of it",
      type: BINARY,
      headers: { ETag: etag, "Content-Length": "Bytes" },
    },
    206: {
      description: "The range",
      type: BINARY,
      headers: { ETag: etag, "Content-Range": "What part it is" },
    },
  };
}

/** Those bytes: `range` of `size`, or all without one. */
export function rangedAnswer(
  object: R2ObjectBody,
  range: ByteRange | undefined,
  size: number,
  etag: string,
): Response {
  const { offset, length } = range ?? { offset: 0, length: size };
  return new Response(object.body, {
    status: range ? 206 : 200,
    headers: {
      "Content-Type": BINARY,
      "Content-Length": `${length}`,
      "Accept-Ranges": "bytes",
      "X-Content-Type-Options": "nosniff",
      ETag: etag,
      ...(range && {
        "Content-Range": `bytes ${offset}-${offset + length - 1}/${size}`,
      }),
    },
  });
}
