/** The options of the tensor routes, as their queries have them. */
import type { Context } from "hono";
import type { Options, ValuesOf } from "../../api/option-kinds.ts";
import { readOptions, repeats, textOptions } from "../../api/option-text.ts";
import { checkQuery } from "../query.ts";

/** Errors: `invalid_option` for names and values that the table does not have */
export function optionsOf<T extends Options>(
  c: Context,
  table: T,
): ValuesOf<T> {
  const known = textOptions(table);
  const names = (which: typeof known) => which.map(({ name }) => name);
  const [many, once] = [
    known.filter(repeats),
    known.filter((each) => !repeats(each)),
  ];
  checkQuery(c, names(once), names(many));
  return readOptions(table, (name) => c.req.queries(name) ?? []);
}
