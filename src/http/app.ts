import { Hono } from "hono";
import { AppError } from "../api/errors.ts";
import { authenticate } from "./auth.ts";
import { datasetRoutes } from "./datasets/dataset-routes.ts";
import { docsRoutes } from "./docs-routes.ts";
import type { AppEnv } from "./env.ts";
import { answerError } from "./errors.ts";
import { fileRoutes } from "./files/file-routes.ts";
import { healthRoutes } from "./health-routes.ts";
import { jobRoutes } from "./jobs/job-routes.ts";
import { runRoutes } from "./runs/run-routes.ts";
import { shardRoutes } from "./runs/shard-routes.ts";
import { tensorRoutes } from "./tensors/tensor-routes.ts";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/** The HTTP API: who may call, then the routes, then one answer for whatever they throw. */
export const app = new Hono<AppEnv>();

app.onError(answerError);
app.use(authenticate);

app.route("/", healthRoutes);
app.route("/", docsRoutes);
app.route("/", tensorRoutes);
app.route("/", fileRoutes);
app.route("/", jobRoutes);
app.route("/", datasetRoutes);
app.route("/", runRoutes);
app.route("/", shardRoutes);

app.notFound((c) => {
  const allowed = METHODS.filter((method) => isRoute(method, c.req.path));
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

/** Whether a handler, not only middleware, answers `method` at `path`. */
function isRoute(method: string, path: string): boolean {
  const [matches] = app.router.match(method, path);
  return matches.some(([[, route]]) => route.method === method);
}
