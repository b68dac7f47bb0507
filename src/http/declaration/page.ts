/** Paging of lists: each page begins after the last entry of the previous one. */
import { NAME } from "../../api/text-rules.ts";
import { AppError } from "../../api/errors.ts";
import { optional, type Parameter, textParameter } from "./parameter.ts";

/** Parameter `limit` of a list, at most `most`. */
export function limit(most: number, fallback: number): Parameter<number> {
  return optional({
    kind: "whole",
    least: 1,
    most,
    default: fallback,
    text: "Largest number of entries per page",
  });
}

/** Parameter `cursor` of a list ordered by name. */
export const NAME_CURSOR: Parameter<string | undefined> = {
  ...textParameter("The `next` of the previous page", NAME.pattern),
  read(value) {
    if (value === undefined || NAME.pattern.test(value)) return value;
    throw wrongCursor(value);
  },
};

export function wrongCursor(got: string): AppError {
  return new AppError(
    "invalid_option",
    `Expected \`cursor\` to be the \`next\` of a page, got "${got}"`,
  );
}
