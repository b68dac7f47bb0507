/** The HTTP API: who may call, then the routes, then one answer for whatever they throw. */
import { type Context, Hono } from "hono";
import { AppError } from "../api/errors.ts";
import { authorize } from "./auth.ts";
import type { AppEnv } from "./env.ts";
import { answerError } from "./errors.ts";
import { ROUTES } from "./routes.ts";

export const app = new Hono<AppEnv>();

app.onError(answerError);

for (const { method, path, access, answer } of ROUTES) {
  const pattern = path.replace(/\{(\w+)\}/g, ":$1");
  app.on(method.toUpperCase(), pattern, async (c: Context<AppEnv>) => {
    await authorize(c, access);
    return answer(c);
  });
}

app.notFound(async (c) => {
  await authorize(c, "owner");
  const allowed = ["GET", "POST", "PUT", "PATCH", "DELETE"].filter(
    (method) => app.router.match(method, c.req.path)[0].length > 0,
  );
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
