/**
 * The kinds of options as plain data: allowed values, default and description. Queries, JSON and command lines are
 * derived from these declarations.
 */
import { AppError } from "./errors.ts";

type About<T> = {
  /** Description, in one line. */
  text: string;
  default?: T;
};

/** One of a few values. */
export type Choice<T extends string | number = string | number> = About<T> & {
  kind: "choice";
  values: readonly T[];
};

/** A whole number from `least` to `most`; `mostText` is how the latter is displayed. */
export type Whole = About<number> & {
  kind: "whole";
  least: number;
  most: number;
  mostText?: string;
};

/**
 * Names with `*` and `?`, without commas, which separate them in a query and on a command line. With `gives`, each is
 * followed by one of these values, as in `*_norm=f32`.
 */
export type Patterns = About<readonly string[]> & {
  kind: "patterns";
  gives?: readonly string[];
};

/** Strings without commas, which separate them in a query. */
type List = About<readonly string[]> & { kind: "list" };

/** The sizes of a shape, as in 4,64. */
type Sizes = About<readonly number[]> & { kind: "sizes" };

/** Options given together or not at all: an object in JSON, separate parameters elsewhere. */
export type Group<T extends Options = Options> = {
  kind: "group";
  text: string;
  options: T;
  default?: undefined;
};

export type Option = Choice | Whole | Patterns | List | Sizes | Group;
export type Options = { readonly [name: string]: Option };

export type ValueOf<O extends Option> =
  O extends Choice<infer T>
    ? T
    : O extends Whole
      ? number
      : O extends Patterns | List
        ? readonly string[]
        : O extends Sizes
          ? readonly number[]
          : O extends Group<infer T>
            ? { [Name in keyof T]: ValueOf<T[Name]> }
            : never;

/** Options as given: each may be missing. */
export type ValuesOf<T extends Options> = {
  [Name in keyof T]?: ValueOf<T[Name]> | undefined;
};

/** Every option. */
export type AllOf<T extends Options> = {
  [Name in keyof T]: ValueOf<T[Name]>;
};

/** Options of which those with a default are present. */
export type Filled<T extends Options> = {
  [Name in keyof T]: T[Name] extends { default: NonNullable<unknown> }
    ? ValueOf<T[Name]>
    : ValueOf<T[Name]> | undefined;
};

export function choice<const T extends string | number>(
  values: readonly T[],
  text: string,
): Choice<T>;
export function choice<const T extends string | number>(
  values: readonly T[],
  text: string,
  fallback: NoInfer<T>,
): Choice<T> & { default: T };
export function choice<T extends string | number>(
  values: readonly T[],
  text: string,
  fallback?: T,
): Choice<T> {
  const option = { kind: "choice", values, text } as const;
  return fallback === undefined ? option : { ...option, default: fallback };
}

export function patterns(
  text: string,
  gives?: readonly string[],
): Patterns & { default: readonly string[] } {
  return { kind: "patterns", text, default: [], ...(gives && { gives }) };
}

export function group<T extends Options>(text: string, options: T): Group<T> {
  return { kind: "group", text, options };
}

/** Options with the defaults of missing ones. */
export function withDefaults<T extends Options>(
  table: T,
  options: ValuesOf<T> = {},
): Filled<T> {
  const entries = Object.entries(table).map(([name, option]) => [
    name,
    options[name] ?? option.default,
  ]);
  return Object.fromEntries(entries) as Filled<T>;
}

export const MAX_PATTERNS = 32;
export const MAX_PATTERN_LENGTH = 256;
export const MAX_SIZES = 16;
export const MAX_SIZE = 10 ** 15 - 1;

/** What a value of the option must be, to follow "to be". */
export function expected(option: Option): string {
  switch (option.kind) {
    case "choice":
      return `one of ${option.values.join(", ")}`;
    case "whole":
      return `a whole number from ${option.least} to ${option.mostText ?? option.most}`;
    case "patterns":
      return `an array of patterns${option.gives ? ", each with = and a value" : ""}`;
    case "list":
      return "an array of at least one string";
    case "sizes":
      return `1 to ${MAX_SIZES} sizes as in 4,64`;
    case "group":
      return `an object of ${Object.keys(option.options).join(", ")}`;
  }
}

export function invalidOption(expectation: string, got: string): AppError {
  return new AppError("invalid_option", `Expected ${expectation}, got ${got}`);
}

/** A received value for a message: as JSON if possible, shortened. */
export function shown(value: unknown): string {
  if (typeof value === "function" || typeof value === "symbol")
    return `a ${typeof value}`;
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "number" || value === undefined) return `${value}`;
  const text = inJson(value);
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}

function inJson(value: unknown): string {
  const kind = Object.prototype.toString
    .call(value)
    .slice("[object ".length, -1);
  if (typeof value === "object" && !["Object", "Array", "Null"].includes(kind))
    return kind;
  try {
    return JSON.stringify(value) ?? kind;
  } catch {
    return kind; // circular, or contains a bigint
  }
}
