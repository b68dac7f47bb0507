/** Parameters in a path, a query or a header: reading, checking and description in one declaration. */
import { AppError, type ErrorCode } from "../../api/errors.ts";
import {
  expected,
  MAX_PATTERN_LENGTH,
  type Options,
  type ValueOf,
} from "../../api/option-kinds.ts";
import {
  readOptionText,
  repeats,
  SIZES_PATTERN,
  type TextOption,
  textOptions,
} from "../../api/option-text.ts";

/** JSON Schema 2020-12. */
export type JsonSchema = Record<string, unknown>;

export type Described = {
  description: string;
  schema: JsonSchema;
  /** May be given several times. */
  repeats?: true;
  required?: true;
  /** A value for examples, if required. */
  example?: string | number;
};

export type Parameter<T = unknown> = Described & {
  /** The error code of an invalid value, if every route with this parameter describes it. */
  refusal?: ErrorCode;
  /** The value of a text, or of a missing one. */
  read: (text: string | undefined, name: string) => T;
};

/** The values of parameters, by name. */
export type ParameterValues<P extends Record<string, Parameter>> = {
  [Name in keyof P]: ReturnType<P[Name]["read"]>;
};

type Single = Exclude<TextOption["option"], { kind: "patterns" }>;

/** An option that may be missing. */
export function optional<O extends Single>(
  option: O,
  code?: ErrorCode,
): Parameter<
  O extends { default: NonNullable<unknown> }
    ? ValueOf<O>
    : ValueOf<O> | undefined
> {
  return {
    description: option.text,
    schema: textSchema(option),
    read: (text, name) =>
      (text === undefined
        ? option.default
        : valueOf(option, text, name, code)) as never,
  };
}

/** An option that must be given. */
export function required<O extends Single>(
  option: O,
  example: ValueOf<O> & (string | number),
  code?: ErrorCode,
): Parameter<ValueOf<O>> {
  return {
    description: option.text,
    schema: textSchema(option),
    required: true,
    example,
    read: (text = "", name) => valueOf(option, text, name, code) as ValueOf<O>,
  };
}

/** Any text; the pattern is only described, not checked. */
export function textParameter(
  description: string,
  pattern?: RegExp,
): Parameter<string | undefined> {
  return {
    description,
    schema: { type: "string", ...(pattern && { pattern: pattern.source }) },
    read: (value) => value,
  };
}

function valueOf(
  option: Single,
  given: string,
  name: string,
  code: ErrorCode = "invalid_option",
): unknown {
  const value = readOptionText(option, given);
  if (value !== undefined) return value;
  throw new AppError(
    code,
    `Expected \`${name}\` to be ${expected(option)}, got "${given}"`,
  );
}

/**
 * Descriptions of options as query parameters. With presets, a default must not be described as a value, since forms
 * would send it, and given options override a preset's; the text states it instead.
 */
export function parametersOf(table: Options): Record<string, Described> {
  const hasPresets = Object.hasOwn(table, "preset");
  const entries = textOptions(table).map((each) => {
    const { name, option } = each;
    const { default: fallback, ...schema } = textSchema(option);
    const [text, value] =
      fallback === undefined
        ? [option.text, {}]
        : hasPresets
          ? [`${option.text}. Default: ${fallback as string | number}`, {}]
          : [option.text, { default: fallback }];
    return [
      name,
      {
        description: text,
        schema: { ...schema, ...value },
        ...(repeats(each) ? { repeats: true } : {}),
      },
    ];
  });
  return Object.fromEntries(entries) as Record<string, Described>;
}

/** The schema of one value in a query. */
function textSchema(option: TextOption["option"]): JsonSchema {
  const fallback =
    option.default === undefined ? {} : { default: option.default };
  switch (option.kind) {
    case "choice":
      return {
        type: typeof option.values[0],
        enum: option.values,
        ...fallback,
      };
    case "whole":
      return {
        type: "integer",
        minimum: option.least,
        maximum: option.most,
        ...fallback,
      };
    case "patterns":
      return { type: "string", minLength: 1, maxLength: MAX_PATTERN_LENGTH };
    case "sizes":
      return { type: "string", pattern: SIZES_PATTERN };
    case "list":
      return { type: "string" };
  }
}
