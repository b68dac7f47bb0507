/** Values that many JSON bodies bear. */
import * as z from "zod";
import { once } from "../../api/once.ts";
import { DIGEST } from "../../api/text-rules.ts";
import { ruled } from "../../training/run-request.ts";

/** Whole numbers that JSON bears exactly. */
export const whole = once(() => z.int().min(0));
export const time = once(() =>
  whole().describe("Milliseconds since the epoch"),
);
export const digest = once(() => ruled(DIGEST));

/** Of a list in pages. */
export const next = once(() =>
  z.string().nullable().describe("Cursor of the next page; null on the last"),
);
