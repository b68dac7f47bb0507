/** Values used in many JSON bodies. */
import * as z from "zod";
import { once } from "../../api/once.ts";
import { DIGEST } from "../../api/text-rules.ts";
import { ruled } from "../../training/run-request.ts";

/** Integers that JSON represents exactly. */
export const whole = once(() => z.int().min(0));
export const time = once(() =>
  whole().describe("Milliseconds since the epoch"),
);
export const digest = once(() => ruled(DIGEST));

/** For paged lists. */
export const next = once(() =>
  z.string().nullable().describe("Cursor of the next page; null on the last"),
);
