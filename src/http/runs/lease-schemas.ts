/** The JSON that a trainer is answered. */
import * as z from "zod";
import type { CompletionResponse, LeaseResponse } from "../../api/lease.ts";
import { time, whole } from "../declaration/json-values.ts";
import { ANSWER_SCHEMAS, type Same } from "../declaration/route.ts";
import { state } from "./run-schemas.ts";

const lease = z.strictObject({
  kind: z.enum(["train", "eval"]),
  step: whole,
  index: whole,
  deadlineMs: time,
  key: z.string().describe("Sent as Lease-Key with what comes of it"),
  rewinds: whole
    .optional()
    .describe("How often the run has gone back to an earlier step, if ever"),
  createdMs: time
    .optional()
    .describe("Of the run: another that has its id later has another config"),
});

export const leaseResponseSchema = z
  .strictObject({
    state,
    lease: lease.nullable(),
    ahead: lease
      .optional()
      .describe("The one after it, for who asked for such"),
  })
  .register(ANSWER_SCHEMAS, { id: "LeaseResponse" });

export const completionResponseSchema = leaseResponseSchema
  .extend({ duplicate: z.boolean() })
  .register(ANSWER_SCHEMAS, { id: "CompletionResponse" });

export const pushResponseSchema = z
  .strictObject({ duplicate: z.boolean() })
  .register(ANSWER_SCHEMAS, { id: "PushResponse" });

true satisfies Same<z.output<typeof leaseResponseSchema>, LeaseResponse>;
true satisfies Same<
  z.output<typeof completionResponseSchema>,
  CompletionResponse
>;
