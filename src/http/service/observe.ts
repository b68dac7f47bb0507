/**
 * For every request: an id, in the answer's `X-Request-Id` and in a problem's `requestId`; a `Date`; counters; and, if
 * REQUEST_LOG is "1", a line of JSON in the log, without addresses, queries or tokens.
 */
import type { MiddlewareHandler } from "hono";
import { requestId } from "hono/request-id";
import type { AppEnv } from "../env.ts";
import { requestCounts } from "./request-counts.ts";

const HEADER = "X-Request-Id";

/** Runs before `observe`: keeps the client's own id if it is short and plain. */
export const identify = requestId({ headerName: HEADER, limitLength: 64 });

export const observe: MiddlewareHandler<AppEnv> = async (c, next) => {
  const started = performance.now();
  const id = c.get("requestId");
  await next();
  // Answers not created by the context lack the header; those from objects are immutable, so this creates a copy.
  c.header(HEADER, id);
  // Times in answers are from this clock. workerd adds no Date by itself.
  c.header("Date", new Date().toUTCString());

  const answered = {
    method: c.req.method,
    route: c.get("route") ?? "none",
    status: c.res.status,
    seconds: (performance.now() - started) / 1000,
    receivedBytes: c.req.raw.body ? lengthOf(c.req.raw.headers) : 0,
    sentBytes: c.res.body ? lengthOf(c.res.headers) : 0,
  };
  requestCounts.add(answered);
  if (c.env.REQUEST_LOG !== "1") return;
  const { seconds, ...rest } = answered;
  const ms = Math.round(seconds * 1e6) / 1e3;
  const time = new Date().toISOString();
  console.log(
    JSON.stringify({ time, requestId: id, path: c.req.path, ...rest, ms }),
  );
};

function lengthOf(headers: Headers): number | null {
  const length = headers.get("Content-Length");
  return length !== null && /^\d{1,15}$/.test(length) ? Number(length) : null;
}
