/** Shared by the routes of stored bytes, datasets and files: upload, ranges, deletion. */
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
    "One range of bytes, as in `bytes=0-4095`; other units are ignored",
    /^bytes=\d*-\d*$/,
  ),
  "If-Range": textParameter("The ETag; Range is ignored if it differs"),
  ...READ_CONDITIONS,
};

/** Answers with the whole or a range; `etag` describes the ETag. */
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

/** What is read; `present`: the bucket's entry, if known. */
export type Stored = {
  key: string;
  bytes: number;
  etag: string;
  present?: R2Object;
  /** The selected part, if not the whole. */
  part?: ByteRange | undefined;
};

/**
 * The bytes as requested by `asked`; null if they no longer exist or were replaced. Errors: `precondition_failed`,
 * `range_not_satisfiable`
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

/** `body` is the whole of `bytes` bytes, or the range. */
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

/** The requested range, if If-Range matches. Errors: `range_not_satisfiable`, with the length (§15.5.17) */
export function rangeOf(
  c: Context,
  { Range: header, "If-Range": ifRange }: Asked,
  bytes: number,
  etag: string,
): ByteRange | undefined {
  if (header === undefined) return undefined;
  // Dates never match: two versions of one second share them, and §13.1.5 requires a strong validator.
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

/** Adds the name under which a browser saves it (RFC 6266; RFC 8187 if not ASCII). */
export function saved(answer: Response, fileName: string): Response {
  if (answer.status === 304) return answer;
  const plain = fileName.replace(/[^\x20-\x7e]|["\\%]/gu, "_");
  const whole =
    plain === fileName ? "" : `; filename*=UTF-8''${extended(fileName)}`;
  const disposition = `attachment; filename="${plain}"${whole}`;
  answer.headers.set("Content-Disposition", disposition);
  return answer;
}

/** `ext-value` allows fewer unencoded characters than `encodeURIComponent` leaves. */
function extended(text: string): string {
  return encodeURIComponent(text).replace(
    /['()*]/g,
    (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
