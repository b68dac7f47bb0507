/**
 * The kinds of option that there are, as plain data: what a value may be, its default, and what is said
 * of it. A declaration says nothing of queries, JSON or command lines; each of those is derived from it.
 */
import { isObject } from "./json.ts";
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

/**
 * The options that were given, each checked; one that is undefined was not.
 * Errors: `invalid_option` for a name or a value that the table does not have
 */
export function checkOptions<T extends Options>(
  table: T,
  given: unknown,
  place = "",
): ValuesOf<T> {
  if (!isObject(given)) {
    const what = place === "" ? "options" : `\`${place}\``;
    throw invalidOption(`${what} to be an object`, shown(given));
  }
  const checked: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    const full = place === "" ? name : `${place}.${name}`;
    if (!Object.hasOwn(table, name)) {
      const names = Object.keys(table).map((each) => `\`${each}\``);
      const kind = place === "" ? "options" : `\`${place}\` of`;
      throw invalidOption(`${kind} ${names.join(", ")}`, `\`${name}\``);
    }
    checked[name] = checkValue(table[name]!, value, full);
  }
  return checked as ValuesOf<T>;
}

function checkValue(option: Option, value: unknown, name: string): unknown {
  switch (option.kind) {
    case "choice":
      if (option.values.includes(value as never)) return value;
      break;
    case "whole":
      if (isWhole(value, option.least, option.most)) return value;
      break;
    case "patterns":
      if (isStrings(value))
        return [...checkPatterns(option, value, `\`${name}\``)];
      break;
    case "list":
      if (isStrings(value) && value.length > 0) return [...value];
      break;
    case "sizes":
      if (areSizes(value)) return [...value];
      break;
    case "group": {
      const values = checkOptions(option.options, value, name);
      for (const [part, each] of Object.entries(option.options)) {
        if (Object.hasOwn(values, part)) continue;
        throw invalidOption(
          `\`${name}.${part}\` to be ${expected(each)}`,
          "nothing",
        );
      }
      return values;
    }
  }
  throw invalidOption(`\`${name}\` to be ${expected(option)}`, shown(value));
}

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
      return "an array of strings, one at least";
    case "sizes":
      return `1 to ${MAX_SIZES} sizes as in 4,64`;
    case "group":
      return `an object of ${Object.keys(option.options).join(", ")}`;
  }
}

/** Errors: `invalid_option` for too many, for one that is empty or too long, or without its value */
export function checkPatterns(
  { gives }: Patterns,
  patterns: readonly string[],
  shownName: string,
): readonly string[] {
  const { length } = patterns;
  if (length > MAX_PATTERNS)
    throw invalidOption(
      `${shownName} at most ${MAX_PATTERNS} times`,
      `it ${length} times`,
    );
  const split = patterns.find((each) => each.includes(","));
  if (split !== undefined)
    throw invalidOption(
      `${shownName} to be patterns without commas, in place of which ? stands`,
      shown(split),
    );
  const wrong = patterns.find(
    (each) => each.length < 1 || each.length > MAX_PATTERN_LENGTH,
  );
  if (wrong !== undefined)
    throw invalidOption(
      `${shownName} to be a pattern of 1 to ${MAX_PATTERN_LENGTH} characters`,
      `${wrong.length}`,
    );
  const without = gives && patterns.find((each) => !isGiven(each, gives));
  if (without === undefined) return patterns;
  throw invalidOption(
    `${shownName} to be a pattern, = and one of ${gives!.join(", ")}`,
    shown(without),
  );
}

function isGiven(text: string, values: readonly string[]): boolean {
  const at = text.lastIndexOf("=");
  return at > 0 && values.includes(text.slice(at + 1));
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

function isStrings(value: unknown): value is string[] {
  return (
    Array.isArray(value) && value.every((each) => typeof each === "string")
  );
}

function areSizes(value: unknown): value is number[] {
  return (
    Array.isArray(value) &&
    value.length >= 1 &&
    value.length <= MAX_SIZES &&
    value.every((size) => isWhole(size, 0, MAX_SIZE))
  );
}

function isWhole(value: unknown, least: number, most: number): boolean {
  return (
    Number.isSafeInteger(value) &&
    (value as number) >= least &&
    (value as number) <= most
  );
}
