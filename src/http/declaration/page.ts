/** Lists in pages: as long as asked for, each beginning behind the last entry of the one before. */
import { NAME } from "../../api/text-rules.ts";
import { AppError } from "../../api/errors.ts";
import { optional, type Parameter, textParameter } from "./parameter.ts";

/** `limit` of a list, at most `most`. */
export function limit(most: number, fallback: number): Parameter<number> {
  return optional({
    kind: "whole",
    least: 1,
    most,
    default: fallback,
    text: "At most so many a page",
  });
}

/** `cursor` of a list by name. */
export const NAME_CURSOR: Parameter<string | undefined> = {
  ...textParameter("The `next` of the page before", NAME.pattern),
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
