/** The HTTP API: request id and counters, access control, routes, and one error handler. */
import { type Context, Hono } from "hono";
import { AppError } from "../api/errors.ts";
import { authorize } from "./auth.ts";
import { patternOf, routedPath } from "./declaration/path.ts";
import type { AppEnv } from "./env.ts";
import { answerError } from "./errors.ts";
import { answerRefused } from "./refused-body.ts";
import { ROUTES } from "./routes.ts";
import { identify, observe } from "./service/observe.ts";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const OPEN_PATHS = new Set(
  ROUTES.filter(({ access }) => access === "open").map(({ path }) => path),
);

export const app = new Hono<AppEnv>({ getPath: routedPath });

app.onError((error, c) =>
  answerRefused(c.req.raw, answerError(error, c), (work) =>
    c.executionCtx.waitUntil(work),
  ),
);
app.use(identify, observe);

for (const { method, path, access, answer } of ROUTES) {
  app.on(method.toUpperCase(), patternOf(path), async (c: Context<AppEnv>) => {
    c.set("route", path);
    await authorize(c, access);
    return answer(c);
  });
}

// A route, since errors thrown in `notFound` would bypass the middleware.
app.all("*", async (c) => {
  const methods = METHODS.filter((method) => isRoute(method, c.req.url));
  await authorize(c, OPEN_PATHS.has(c.req.path) ? "open" : "known");
  const allowed = methods
    // Every GET route answers HEAD too.
    .flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method]));
  if (allowed.length === 0) {
    throw new AppError(
      "route_not_found",
      `Expected a route of this API, got ${c.req.method} ${c.req.path}`,
    );
  }
  c.header("Allow", allowed.join(", "));
  throw new AppError(
    "method_not_allowed",
    `Expected ${allowed.join(" or ")} for ${c.req.path}, got ${c.req.method}`,
  );
});

/** Whether a handler, not only middleware, answers `method` at `url`. */
function isRoute(method: string, url: string): boolean {
  const [matches] = app.router.match(method, routedPath({ method, url }));
  return matches.some(([[, registered]]) => registered.method === method);
}
