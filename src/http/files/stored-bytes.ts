/** What routes of stored bytes share: corpora and files come, are read by range, and go alike. */
import type { Context } from "hono";
import type { ErrorCode } from "../../api/errors.ts";
import {
  textParameter,
  type ParameterValues,
} from "../declaration/parameter.ts";
import type { Answer } from "../declaration/route.ts";
import type { AppEnv } from "../env.ts";
import { type ByteRange, readRange } from "./byte-range.ts";
import { isDated, isKnown, READ_CONDITIONS } from "./conditions.ts";

const BINARY = "application/octet-stream";

export const UPLOAD_ERRORS: readonly ErrorCode[] = [
  "malformed_body",
  "length_required",
  "body_too_large",
];

export const READ_ERRORS: readonly ErrorCode[] = [
  "precondition_failed",
  "range_not_satisfiable",
];

export const GONE: Record<number, Answer> = { 204: { description: "Deleted" } };

export const READ_HEADERS = {
  Range: textParameter(
    "One range of bytes, as in `bytes=0-4095`; other units say nothing",
    /^bytes=\d*-\d*$/,
  ),
  "If-Range": textParameter("The ETag without which Range says nothing"),
  ...READ_CONDITIONS,
};

/** All of it, or the range; `etag` says what the ETag is. */
export function storedAnswers(
  etag: string,
  type = BINARY,
): Record<number, Answer> {
  const headers = { ETag: etag, "Last-Modified": "When it was stored" };
  return {
    200: {
      description: "The whole content",
      type,
      headers: { ...headers, "Content-Length": "Bytes" },
    },
    206: {
      description: "The requested range",
      type,
      headers: { ...headers, "Content-Range": "What part it is" },
    },
    304: {
      description: "Not modified: the caller has this version",
      headers: { ETag: etag },
    },
  };
}

export type Asked = Partial<ParameterValues<typeof READ_HEADERS>>;

/** What is read: `present` is the bucket's entry, where it is known already. */
export type Stored = {
  key: string;
  bytes: number;
  etag: string;
  present?: R2Object;
  /** All that is asked for, where it is not the whole. */
  part?: ByteRange | undefined;
};

/**
 * Those bytes as `asked`; null when they are gone, or others have taken their place.
 * Errors: `precondition_failed`, `range_not_satisfiable`
 */
export async function answerStored(
  c: Context<AppEnv>,
  { key, bytes: all, etag, present, part }: Stored,
  asked: Asked,
): Promise<Response | null> {
  const { BUCKET } = c.env;
  const { offset: first, length: bytes } = part ?? { offset: 0, length: all };
  const isHead = c.req.method === "HEAD";
  const known =
    present ?? (isHead || isDated(asked) ? await BUCKET.head(key) : undefined);
  if (known === null) return null;
  if (isKnown(asked, { etag, storedMs: known?.uploaded.getTime() }))
    return new Response(null, { status: 304, headers: { ETag: etag } });
  if (isHead) {
    const { uploaded } = known!;
    return new Response(null, { headers: headersOf(uploaded, bytes, etag) });
  }
  const range = rangeOf(c, asked, bytes, etag);
  const object = await BUCKET.get(key, {
    ...((range ?? part) && {
      range: {
        offset: first + (range?.offset ?? 0),
        length: range?.length ?? bytes,
      },
    }),
    ...(present && { onlyIf: { etagMatches: present.etag } }),
  });
  if (!object || !("body" in object)) return null;
  return answerBytes(object.body, object.uploaded, bytes, etag, range);
}

/** `body`, which is all of the `bytes` that are stored, or the range. */
export function answerBytes(
  body: ReadableStream,
  stored: Date,
  bytes: number,
  etag: string,
  range: ByteRange | undefined,
  type?: string,
): Response {
  const headers = headersOf(stored, range?.length ?? bytes, etag, type);
  if (!range) return new Response(body, { headers });
  const { offset, length } = range;
  headers.set(
    "Content-Range",
    `bytes ${offset}-${offset + length - 1}/${bytes}`,
  );
  return new Response(body, { status: 206, headers });
}

/** What is asked for, of the version for which it is. Errors: `range_not_satisfiable`, with the length (§15.5.17) */
export function rangeOf(
  c: Context,
  { Range: header, "If-Range": ifRange }: Asked,
  bytes: number,
  etag: string,
): ByteRange | undefined {
  if (header === undefined) return undefined;
  // A date never is the version: two of one second have the same (§13.1.5 asks for a strong validator).
  if (ifRange !== undefined && ifRange.trim() !== etag) return undefined;
  try {
    return readRange(header, bytes);
  } catch (error) {
    c.header("Content-Range", `bytes */${bytes}`);
    throw error;
  }
}

export function headersOf(
  stored: Date,
  bytes: number,
  etag: string,
  type = BINARY,
): Headers {
  return new Headers({
    "Content-Type": type,
    "Content-Length": `${bytes}`,
    "Accept-Ranges": "bytes",
    "X-Content-Type-Options": "nosniff",
    "Last-Modified": stored.toUTCString(),
    ETag: etag,
  });
}

/** With the name that a browser saves it under (RFC 6266; what is not ASCII as RFC 8187 has it). */
export function saved(answer: Response, fileName: string): Response {
  if (answer.status === 304) return answer;
  const plain = fileName.replace(/[^\x20-\x7e]|["\\%]/gu, "_");
  const whole =
    plain === fileName ? "" : `; filename*=UTF-8''${extended(fileName)}`;
  const disposition = `attachment; filename="${plain}"${whole}`;
  answer.headers.set("Content-Disposition", disposition);
  return answer;
}

/** `ext-value` has fewer signs as they are than a URL's part. */
function extended(text: string): string {
  return encodeURIComponent(text).replace(
    /['()*]/g,
    (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
