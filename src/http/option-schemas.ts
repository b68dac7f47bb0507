/** Declared options as JSON has them, and as OpenAPI describes them. */
import * as z from "zod";
import {
  MAX_PATTERN_LENGTH,
  MAX_PATTERNS,
  MAX_SIZE,
  MAX_SIZES,
  type Option,
  type Options,
  type ValuesOf,
} from "../api/option-kinds.ts";
import {
  repeats,
  SIZES_PATTERN,
  type TextOption,
  textOptions,
} from "../api/option-text.ts";
import type { JsonSchema, Parameter } from "./openapi-operation.ts";

/** An object with any of the options, and no other. */
export function objectOf<T extends Options>(table: T): z.ZodType<ValuesOf<T>> {
  const shape = Object.entries(table).map(([name, option]) => [
    name,
    schemaOf(option).describe(option.text).optional(),
  ]);
  return z.strictObject(Object.fromEntries(shape)) as never;
}

function schemaOf(option: Option): z.ZodType {
  switch (option.kind) {
    case "choice":
      return z.literal(option.values);
    case "whole":
      return z.int().min(option.least).max(option.most);
    case "patterns":
      return z
        .array(z.string().min(1).max(MAX_PATTERN_LENGTH))
        .max(MAX_PATTERNS);
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

/** The parameters of a query that has them. */
export function parametersOf(table: Options): Parameter[] {
  return textOptions(table).map((each) => ({
    name: each.name,
    in: "query",
    description: each.option.text,
    schema: textSchema(each.option),
    ...(repeats(each) ? { repeats: true } : {}),
  }));
}

/** Of one value as a query has it. */
function textSchema(option: TextOption["option"]): JsonSchema {
  switch (option.kind) {
    case "choice": {
      const fallback =
        option.default === undefined ? {} : { default: option.default };
      return { enum: option.values, ...fallback };
    }
    case "whole":
      return {
        type: "integer",
        minimum: option.least,
        maximum: option.most,
        default: option.default,
      };
    case "patterns":
      return { type: "string", minLength: 1, maxLength: MAX_PATTERN_LENGTH };
    case "sizes":
      return { type: "string", pattern: SIZES_PATTERN };
    case "list":
      return { type: "string" };
  }
}
