import { Hono } from "hono";
import type { AppEnv } from "./env.ts";
import { openApiJson } from "./openapi.ts";

export const docsRoutes = new Hono<AppEnv>()

  /**
   * The API's description, OpenAPI 3.1. Open to all; `/docs`, a static page, shows it.
   *
   * 200: the document
   */
  .get("/openapi.json", (c) =>
    c.body(openApiJson(), 200, { "Content-Type": "application/json" }),
  );
