/** Which schemes `/v1/analyze` compares, separated by commas. */
import type { Context } from "hono";
import type { NamedScheme } from "../../formats/operations/analyze-file.ts";
import { namedSchemes } from "../../formats/operations/named-schemes.ts";
import { schemeOf } from "./tensor-query.ts";

export function schemesOf(c: Context): NamedScheme[] {
  return namedSchemes(schemeOf(c), c.req.query("compare")?.split(","));
}
