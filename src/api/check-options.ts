/** Checks options given as values against their table. */
import { isObject } from "./json.ts";
import {
  expected,
  invalidOption,
  MAX_PATTERN_LENGTH,
  MAX_PATTERNS,
  MAX_SIZE,
  MAX_SIZES,
  type Option,
  type Options,
  type Patterns,
  shown,
  type ValuesOf,
} from "./option-kinds.ts";

/**
 * The given options, checked; undefined ones are omitted. Errors: `invalid_option` for a name or value that the table
 * does not have
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

/** Errors: `invalid_option` for too many patterns, or one that is empty, too long, has a comma, or lacks its value */
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
      `${shownName} to be patterns without commas (? matches any character)`,
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
