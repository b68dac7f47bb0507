/** Downloads that continue after a broken connection, in the same version. */
import { AppError } from "../api/errors.ts";
import { BrokenOff } from "./broken-off.ts";
import type { Http } from "./http.ts";
import { pause, pauseMs } from "./retry.ts";

const PARTIAL = 206;

/**
 * The response to a GET of `path`, or of a `range`. A body that breaks off is continued by a request for the rest
 * with If-Range. Reading fails with `file_changed` if the version has changed, and with `BrokenOff` if connections
 * bring nothing until the client's patience ends.
 */
export async function download(
  http: Http,
  path: string,
  range?: { start: number; end: number },
): Promise<Response> {
  const headers: Record<string, string> = range
    ? { Range: `bytes=${range.start}-${range.end - 1}` }
    : {};
  const first = await http.request("GET", path, { headers, timeoutMs: 0 });
  const etag = first.headers.get("ETag");
  const bytes = Number(first.headers.get("Content-Length") ?? Number.NaN);
  if (!first.body || etag === null || Number.isNaN(bytes)) return first;
  const start = startOf(first);
  const rest = async (taken: number): Promise<Reader> => {
    const missing = `bytes=${start + taken}-${start + bytes - 1}`;
    const response = await http.request("GET", path, {
      headers: { Range: missing, "If-Range": etag },
      timeoutMs: 0,
    });
    if (response.status === PARTIAL && startOf(response) === start + taken)
      return readerOf(response.body);
    await response.body?.cancel();
    throw new AppError(
      "file_changed",
      `Expected ${missing} of version ${etag}, got status ${response.status} and version ${response.headers.get("ETag")}`,
    );
  };
  const body = resumed(http, bytes, readerOf(first.body), rest);
  const { status, statusText } = first;
  return new Response(body, { status, statusText, headers: first.headers });
}

type Reader = ReadableStreamDefaultReader<Uint8Array>;

/** A stream of `bytes` from `reader`, continued by readers that `next` opens after the bytes already received. */
function resumed(
  http: Http,
  bytes: number,
  reader: Reader,
  next: (taken: number) => Promise<Reader>,
): ReadableStream<Uint8Array> {
  let taken = 0;
  let failures = 0;
  let silentMs: number | undefined; // since when connections bring nothing
  async function piece(): Promise<Uint8Array> {
    for (;;) {
      let cause: unknown;
      try {
        const { value } = await reader.read();
        if (value) return value;
      } catch (error) {
        cause = error;
      }
      http.signal?.throwIfAborted();
      silentMs ??= Date.now();
      if (Date.now() - silentMs > http.patienceMs) {
        throw new BrokenOff(
          `${bytes} bytes`,
          `${taken} and then connections that end without any`,
          cause,
        );
      }
      await pause(pauseMs(failures++), http.signal);
      reader = await next(taken);
    }
  }
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (taken < bytes) {
          const value = await piece();
          failures = 0;
          silentMs = undefined;
          taken += value.length;
          controller.enqueue(value);
        }
        if (taken >= bytes) controller.close();
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

function readerOf(body: ReadableStream<Uint8Array> | null): Reader {
  return (body ?? new Blob([]).stream()).getReader();
}

/** Position of the response's first byte in the whole. */
function startOf(response: Response): number {
  const [, start = "0"] =
    /^bytes (\d+)-/.exec(response.headers.get("Content-Range") ?? "") ?? [];
  return Number(start);
}
