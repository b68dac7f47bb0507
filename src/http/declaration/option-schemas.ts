/** Schemas of declared options in JSON. */
import * as z from "zod";
import {
  MAX_PATTERN_LENGTH,
  MAX_PATTERNS,
  MAX_SIZE,
  MAX_SIZES,
  type Option,
  type Options,
  type Patterns,
  type ValuesOf,
} from "../../api/option-kinds.ts";

/** An object with any of the options, and no others. */
export function objectOf<T extends Options>(table: T): z.ZodType<ValuesOf<T>> {
  const shape = Object.entries(table).map(([name, option]) => [
    name,
    memberOf(option),
  ]);
  return z.strictObject(Object.fromEntries(shape)) as never;
}

/** Cached: operations share options. */
const members = new Map<Option, z.ZodType>();

function memberOf(option: Option): z.ZodType {
  const member =
    members.get(option) ?? schemaOf(option).describe(option.text).optional();
  members.set(option, member);
  return member;
}

function patternOf({ gives }: Patterns): z.ZodString {
  const pattern = z
    .string()
    .min(1)
    .max(MAX_PATTERN_LENGTH)
    .regex(/^[^,]*$/, "to be without commas, in place of which ? stands");
  if (gives === undefined) return pattern;
  const ending = `to have = and one of ${gives.join(", ")} at its end`;
  return pattern.regex(new RegExp(`.=(${gives.join("|")})$`), ending);
}

function schemaOf(option: Option): z.ZodType {
  switch (option.kind) {
    case "choice":
      return z.literal(option.values);
    case "whole":
      return z.int().min(option.least).max(option.most);
    case "patterns":
      return z.array(patternOf(option)).max(MAX_PATTERNS);
    case "list":
      return z.array(z.string()).min(1);
    case "sizes":
      return z.array(z.int().min(0).max(MAX_SIZE)).min(1).max(MAX_SIZES);
    case "group": {
      const parts = Object.entries(option.options).map(([name, part]) => [
        name,
        schemaOf(part).describe(part.text),
      ]);
      return z.strictObject(Object.fromEntries(parts));
    }
  }
}
