/** The JSON of answers to trainers. */
import * as z from "zod";
import { once } from "../../api/once.ts";
import type { CompletionResponse, LeaseResponse } from "../../api/lease.ts";
import { time, whole } from "../declaration/json-values.ts";
import { state } from "./run-schemas.ts";
import {
  answerSchema,
  type OutputOf,
  type Same,
} from "../declaration/schema.ts";

const lease = once(() =>
  z.strictObject({
    kind: z.enum(["train", "eval"]),
    step: whole(),
    index: whole(),
    deadlineMs: time(),
    key: z
      .string()
      .describe("Sent as Lease-Key with the push and the completion"),
    rewinds: whole()
      .optional()
      .describe("How often the run was rewound, if ever"),
    createdMs: time()
      .optional()
      .describe(
        "When the run was created; distinguishes it from a later run with the same id",
      ),
  }),
);

export const leaseResponseSchema = answerSchema("LeaseResponse", () =>
  z.strictObject({
    state: state(),
    lease: lease().nullable(),
    ahead: lease()
      .optional()
      .describe("The second lease, if `ahead` was requested"),
  }),
);

export const completionResponseSchema = answerSchema("CompletionResponse", () =>
  leaseResponseSchema().extend({ duplicate: z.boolean() }),
);

export const pushResponseSchema = answerSchema("PushResponse", () =>
  z.strictObject({ duplicate: z.boolean() }),
);

true satisfies Same<OutputOf<typeof leaseResponseSchema>, LeaseResponse>;
true satisfies Same<
  OutputOf<typeof completionResponseSchema>,
  CompletionResponse
>;
