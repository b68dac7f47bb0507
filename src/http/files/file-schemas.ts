/** The JSON of a stored file. */
import * as z from "zod";
import type { StoredFile } from "../../api/tensors.ts";
import { whole } from "../declaration/json-values.ts";
import {
  answerSchema,
  type OutputOf,
  type Same,
} from "../declaration/schema.ts";

export const storedFile = answerSchema("StoredFile", () =>
  z.strictObject({
    name: z.string(),
    bytes: whole(),
    digest: z
      .string()
      .nullable()
      .describe(
        "SHA-256 in hexadecimal; null if the file was uploaded in parts",
      ),
  }),
);
true satisfies Same<OutputOf<typeof storedFile>, StoredFile>;
