/**
 * Reads a file at a URL by ranges, always in the version found first. An interrupted read continues where it stopped;
 * failures that may be temporary are retried a few times here, and later by the job.
 */
import { AppError } from "../../api/errors.ts";
import { free } from "../../memory/free.ts";
import { checkSourceUrl, type UrlBindings } from "./url-rules.ts";

export type UrlFile = { url: string; etag: string; bytes: number };

/** The bindings, and the token, which is only sent to the host of the source URL. */
export type UrlReader = { bindings: UrlBindings; token: string | null };

/** A temporary failure; `afterMs` is the server's Retry-After. */
export class NotNow extends Error {
  readonly afterMs: number;

  constructor(message: string, afterMs = 0) {
    super(message);
    this.afterMs = afterMs;
  }
}

const MAX_REDIRECTS = 5;
/** The most consecutive requests that return nothing. */
const MAX_TRIES = 4;
const FIRST_PAUSE_MS = 100;
/** For a longer pause, the job gives up its turn. */
const MAX_PAUSE_MS = 2_000;
/** For a whole response: a range has a few megabytes. */
const TIMEOUT_MS = 60_000;
const PIECE_BYTES = 64 * 1024;

/** Finds a file's present version; undefined if there is none. Errors: `file_not_found` if it cannot be read */
export async function findUrl(
  reader: UrlReader,
  url: string,
): Promise<UrlFile | undefined> {
  return repeatedly(async () => {
    const response = await request(reader, url, 0, 1);
    await response.body?.cancel();
    if (response.status === 404) return undefined;
    const empty = /^bytes \*\/0$/.test(rangeOf(response));
    const bytes = empty ? 0 : part(response, url, 0).total;
    const etag = response.headers.get("ETag");
    if (etag !== null) return { url, etag, bytes };
    throw notReadable(url, "an ETag, by which its version is known", "none");
  });
}

/** Reads `length` bytes from `start`. Errors: `file_changed`, `file_not_found`; `NotNow` */
export async function readUrl(
  reader: UrlReader,
  file: UrlFile,
  start: number,
  length: number,
  into?: ArrayBuffer,
): Promise<Uint8Array<ArrayBuffer>> {
  const buffer =
    into && into.byteLength >= length ? into : new ArrayBuffer(length);
  const bytes = new Uint8Array(buffer, 0, length);
  let got = 0;
  while (got < length) {
    await repeatedly(async () => {
      const from = start + got;
      const response = await request(reader, file.url, from, length - got);
      const etag = response.headers.get("ETag");
      try {
        if (response.status === 404) throw changed(file, "none");
        if (response.status === 416) throw changed(file, "a shorter one");
        const { total } = part(response, file.url, from);
        if (etag !== file.etag) throw changed(file, `version ${etag}`);
        if (total !== file.bytes) throw changed(file, `${total} bytes`);
      } catch (error) {
        await response.body?.cancel();
        throw error;
      }
      const before = got;
      got += await fill(response.body!, bytes.subarray(got));
      if (got === before)
        throw new NotNow(`${shownUrl(file.url)} sent nothing`);
    });
  }
  return bytes;
}

/** The URL for display, without its query, which may be a signature. */
export function shownUrl(url: string): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}

/** Reads a body to `into`; returns how many bytes came before it ended or broke. */
async function fill(
  body: ReadableStream<Uint8Array>,
  into: Uint8Array,
): Promise<number> {
  const reader = body.getReader({ mode: "byob" });
  let piece = new Uint8Array(PIECE_BYTES);
  let got = 0;
  try {
    while (got < into.length) {
      const wanted = Math.min(PIECE_BYTES, into.length - got);
      const view = new Uint8Array(piece.buffer, 0, wanted);
      // Copy chunk by chunk, so that what arrived before a break is kept.
      const { value } = await reader.read(view);
      if (!value || value.length === 0) break;
      into.set(value, got);
      got += value.length;
      piece = new Uint8Array(value.buffer as ArrayBuffer);
    }
  } catch {
    // The next request asks for the rest.
  }
  // Do not read more than was requested.
  await reader.cancel().catch(() => {});
  free(piece);
  return got;
}

/**
 * Checks that a response is the part from `from` on; returns the size of the whole file. Errors: `file_not_found`,
 * `NotNow`
 */
function part(
  response: Response,
  url: string,
  from: number,
): { total: number } {
  const { status } = response;
  if (status === 408 || status === 425 || status === 429 || status >= 500)
    throw new NotNow(
      `${shownUrl(url)} answered ${status}`,
      retryAfterMs(response),
    );
  const [, first, total] =
    /^bytes (\d{1,15})-\d+\/(\d{1,15})$/.exec(rangeOf(response)) ?? [];
  if (status !== 206 || total === undefined)
    throw notReadable(
      url,
      `bytes from ${from} on, with status 206`,
      status === 200
        ? "200, the whole: ranges are not answered"
        : `${status} with Content-Range "${rangeOf(response)}"`,
    );
  if (Number(first) !== from)
    throw notReadable(url, `bytes from ${from} on`, `from ${first}`);
  // Its ranges are those of what is packed, and what comes here is unpacked.
  const encoding = response.headers.get("Content-Encoding") ?? "identity";
  if (encoding.toLowerCase() !== "identity")
    throw notReadable(
      url,
      "bytes without Content-Encoding, as was asked for",
      `"${encoding}"`,
    );
  return { total: Number(total) };
}

function rangeOf({ headers }: Response): string {
  return headers.get("Content-Range") ?? "";
}

/** Retry-After in ms; it is seconds or a date (RFC 9110 §10.2.3). */
function retryAfterMs({ headers }: Response): number {
  const field = headers.get("Retry-After") ?? "";
  if (/^\d{1,6}$/.test(field)) return Number(field) * 1000;
  const ms = Date.parse(field) - Date.now();
  return ms > 0 ? ms : 0;
}

/** Follows redirects itself, to check each against the rules, and to send the token only to the first host. */
async function request(
  { bindings, token }: UrlReader,
  url: string,
  start: number,
  length: number,
): Promise<Response> {
  const first = checkSourceUrl(url, bindings);
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  for (let at = first, i = 0; i <= MAX_REDIRECTS; i++) {
    const headers = new Headers({
      Range: `bytes=${start}-${start + length - 1}`,
      // Compressed responses would have other byte ranges.
      "Accept-Encoding": "identity",
    });
    if (token !== null && at.origin === first.origin)
      headers.set("Authorization", `Bearer ${token}`);
    let response: Response;
    try {
      response = await fetch(at, { headers, redirect: "manual", signal });
    } catch (cause) {
      throw new NotNow(`${shownUrl(at.href)} did not answer: ${String(cause)}`);
    }
    const location = response.headers.get("Location");
    if (response.status < 300 || response.status > 399 || location === null)
      return response;
    await response.body?.cancel();
    const next = URL.parse(location, at.href);
    if (!next) throw notReadable(url, "a redirect to a URL", `"${location}"`);
    at = checkSourceUrl(next.href, bindings);
  }
  throw notReadable(url, `at most ${MAX_REDIRECTS} redirects`, "more");
}

async function repeatedly<T>(body: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await body();
    } catch (error) {
      if (!(error instanceof NotNow) || tries === MAX_TRIES) throw error;
      const pauseMs = Math.max(
        error.afterMs,
        FIRST_PAUSE_MS * 2 ** (tries - 1),
      );
      if (pauseMs > MAX_PAUSE_MS) throw error;
      await scheduler.wait(pauseMs);
    }
  }
}

function changed({ url, etag, bytes }: UrlFile, got: string): AppError {
  return new AppError(
    "file_changed",
    `Expected ${shownUrl(url)} in the version ${etag} of ${bytes} bytes that the job began with, got ${got}`,
  );
}

function notReadable(url: string, expected: string, got: string): AppError {
  return new AppError(
    "file_not_found",
    `Expected ${shownUrl(url)} to answer with ${expected}, got ${got}`,
  );
}
