/** Health, version, metrics and description of the service. */
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
    version: z.string().describe("Version of the package"),
    frame: z
      .int()
      .describe("Version of the protocol between trainers and shards"),
    record: z.string().describe("Version of the metadata in quantized files"),
    fingerprint: z
      .string()
      .describe(
        "Fingerprint of this machine: what a run's bytes depend on besides its config",
      ),
    kernels: z.strictObject({
      arithmetic: z.int(),
      fusesMultiplyAdd: z.boolean(),
    }),
    mode: z.enum(["local", "deployed"]),
    access: z
      .enum(["all", "token", "nobody"])
      .describe(
        "How access is controlled; everything is refused if the secret API_TOKEN is not set",
      ),
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
    summary: "Check that the Worker answers",
    answers: { 200: { description: "It answers", json: health } },
    handle: () => json({ status: "ok" }),
  }),

  route({
    id: "version",
    method: "get",
    path: "/version",
    tag: "service",
    access: "open",
    summary: "Get versions, fingerprint and access mode",
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
    summary: "Get metrics for Prometheus",
    description:
      "Requests, durations, bytes and memory are those of the answering isolate since it started; runs and jobs are those of the whole service.",
    answers: {
      200: { description: "Prometheus text format", type: METRICS_TYPE },
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

/** The route of the description of `routes`, which include it; generated on first request. */
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
