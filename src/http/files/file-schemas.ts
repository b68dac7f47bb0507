/** What is told of a file that was stored. */
import * as z from "zod";
import type { StoredFile } from "../../api/tensors.ts";
import { whole } from "../declaration/json-values.ts";
import { ANSWER_SCHEMAS, type Same } from "../declaration/route.ts";

export const storedFile = z
  .strictObject({
    name: z.string(),
    bytes: whole,
    digest: z
      .string()
      .nullable()
      .describe("SHA-256 in hexadecimal; null of one that came in parts"),
  })
  .register(ANSWER_SCHEMAS, { id: "StoredFile" });
true satisfies Same<z.output<typeof storedFile>, StoredFile>;
