import { Hono } from "hono";
import type { AppEnv } from "./env.ts";

export const healthRoutes = new Hono<AppEnv>()

  /**
   * Whether the Worker answers. Open to all, since it tells nothing else.
   *
   * 200: { status: "ok" }
   */
  .get("/healthz", (c) => c.json({ status: "ok" }));
