/**
 * The kinds of option that there are, as plain data: what a value may be, its default, and what is said
 * of it. A declaration says nothing of queries, JSON or command lines; each of those is derived from it.
 */
import { AppError } from "./errors.ts";

type About<T> = {
  /** What it is of or for, in a line. */
  text: string;
  /** What is taken where it is not told. */
  default?: T;
};

/** One of a few values. */
export type Choice<T extends string | number = string | number> = About<T> & {
  kind: "choice";
  values: readonly T[];
};

/** A whole number from `least` to `most`, of which the second may be written otherwise. */
export type Whole = About<number> & {
  kind: "whole";
  least: number;
  most: number;
  mostText?: string;
};

/**
 * Names with `*` and `?`, without commas, which separate them in a query and on a command line. Where there
 * are values to give them, each is followed by one, as in `*_norm=f32`.
 */
export type Patterns = About<readonly string[]> & {
  kind: "patterns";
  gives?: readonly string[];
};

/** Strings without commas, which separate them in a query. */
type List = About<readonly string[]> & { kind: "list" };

/** The sizes of a shape, as in 4,64. */
type Sizes = About<readonly number[]> & { kind: "sizes" };

/** Options that come together or not at all: an object in JSON, side by side elsewhere. */
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

/** What a caller may give: each option or none. */
export type ValuesOf<T extends Options> = {
  [Name in keyof T]?: ValueOf<T[Name]> | undefined;
};

/** Every option. */
export type AllOf<T extends Options> = {
  [Name in keyof T]: ValueOf<T[Name]>;
};

/** The same, where what has a default is there. */
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

/** The options with their defaults where they were not told. */
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

/** What a value of the option is, after "to be". */
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

/** A value of the caller's, for a message: in JSON where it has one, and not too long. */
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
    return kind; // it holds itself, or what JSON has no word for
  }
}
