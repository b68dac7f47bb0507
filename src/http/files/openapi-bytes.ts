/** What the descriptions of stored bytes share: corpora and files come, are read by range, and go alike. */
import type { ErrorCode } from "../../api/errors.ts";
import type { Answer, Parameter } from "../openapi-operation.ts";

export const BINARY = "application/octet-stream";

export const UPLOAD_ERRORS: readonly ErrorCode[] = [
  "malformed_body",
  "length_required",
  "body_too_large",
  "invalid_name",
];

export const RANGE: Parameter = {
  name: "Range",
  in: "header",
  description: "One range of bytes",
  schema: { type: "string", pattern: "^bytes=\\d*-\\d*$" },
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

export const GONE: Record<number, Answer> = { 204: { description: "Gone" } };
