/** What the service says of itself. */
import * as z from "zod";
import { FRAME_VERSION } from "../../api/frame.ts";
import type { ServiceVersion } from "../../api/service-version.ts";
import { VERSION } from "../../api/version.ts";
import { RECORD_VERSION } from "../../formats/blocks/quantization-record.ts";
import {
  ARITHMETIC_VERSION,
  fingerprint,
  fusesMadd,
} from "../../kernels/matmul.ts";
import { describe } from "../declaration/openapi.ts";
import { type Route, route } from "../declaration/route.ts";
import type { Env } from "../env.ts";
import { json } from "../json.ts";
import { serviceMetrics } from "./service-metrics.ts";
import {
  answerSchema,
  type OutputOf,
  type Same,
} from "../declaration/schema.ts";

const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

const health = answerSchema("Health", () =>
  z.strictObject({ status: z.literal("ok") }),
);

const version = answerSchema("ServiceVersion", () =>
  z.strictObject({
    version: z.string().describe("Of the package"),
    frame: z.int().describe("Of what trainers and shards exchange"),
    record: z.string().describe("Of the choices that quantized files record"),
    fingerprint: z
      .string()
      .describe("What the bytes of a run depend on besides its config"),
    kernels: z.strictObject({
      arithmetic: z.int(),
      fusesMultiplyAdd: z.boolean(),
    }),
    mode: z.enum(["local", "deployed"]),
    access: z
      .enum(["all", "token", "nobody"])
      .describe("Who is let in; nobody where the secret API_TOKEN is not set"),
  }),
);
true satisfies Same<OutputOf<typeof version>, ServiceVersion>;

export const SERVICE_ROUTES = [
  route({
    id: "health",
    method: "get",
    path: "/healthz",
    tag: "service",
    access: "open",
    summary: "Whether the Worker answers",
    answers: { 200: { description: "It does", json: health } },
    handle: () => json({ status: "ok" }),
  }),

  route({
    id: "version",
    method: "get",
    path: "/version",
    tag: "service",
    access: "open",
    summary: "What answers, and who is let in",
    answers: { 200: { description: "The versions", json: version } },
    handle: (c) =>
      json({
        version: VERSION,
        frame: FRAME_VERSION,
        record: RECORD_VERSION,
        fingerprint: fingerprint(),
        kernels: {
          arithmetic: ARITHMETIC_VERSION,
          fusesMultiplyAdd: fusesMadd(),
        },
        mode: c.env.EDGE === "local" ? "local" : "deployed",
        access: accessOf(c.env),
      } satisfies ServiceVersion),
  }),

  route({
    id: "serviceMetrics",
    method: "get",
    path: "/metrics",
    tag: "service",
    access: "owner",
    summary: "Figures for Prometheus",
    description:
      "Requests, durations, bytes and memory are those of the isolate that answers, since it started; runs and jobs are those of the service.",
    answers: {
      200: { description: "In its text format", type: METRICS_TYPE },
    },
    handle: async (c) =>
      c.body(await serviceMetrics(c.env), 200, {
        "Content-Type": METRICS_TYPE,
        "Cache-Control": "no-store",
      }),
  }),
];

function accessOf(env: Env): ServiceVersion["access"] {
  if (env.API_TOKEN) return "token";
  return env.LOCAL_MODE === "1" ? "all" : "nobody";
}

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
