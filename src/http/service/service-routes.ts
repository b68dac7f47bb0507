/** What the service says of itself. */
import * as z from "zod";
import { describe } from "../declaration/openapi.ts";
import { ANSWER_SCHEMAS, type Route, route } from "../declaration/route.ts";

const health = z
  .strictObject({ status: z.literal("ok") })
  .register(ANSWER_SCHEMAS, { id: "Health" });

export const SERVICE_ROUTES = [
  route({
    id: "health",
    method: "get",
    path: "/healthz",
    tag: "service",
    access: "open",
    summary: "Whether the Worker answers",
    answers: { 200: { description: "It does", json: health } },
    handle: (c) => c.json({ status: "ok" }),
  }),
];

/** The description of `routes`, itself among them; made when first asked for. */
export function descriptionOf(routes: () => readonly Route[]): Route {
  let document: string | undefined;
  return route({
    id: "description",
    method: "get",
    path: "/openapi.json",
    tag: "service",
    access: "open",
    summary: "This document",
    answers: { 200: { description: "OpenAPI 3.1", type: "application/json" } },
    handle(c) {
      document ??= JSON.stringify(describe(routes()));
      return c.body(document, 200, { "Content-Type": "application/json" });
    },
  });
}
