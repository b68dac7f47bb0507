/**
 * Options as text: parameters of a query, or options of a command line. `minScale` is `min-scale`; options of a group
 * are separate; lists are separated by commas.
 */
import {
  expected,
  invalidOption,
  MAX_SIZES,
  type Option,
  type Options,
  type ValuesOf,
} from "./option-kinds.ts";
import { checkPatterns } from "./check-options.ts";

export const SIZES_PATTERN = `^\\d{1,15}(,\\d{1,15}){0,${MAX_SIZES - 1}}$`;
const SIZES = new RegExp(SIZES_PATTERN);

/** An option with its name as text. */
export type TextOption = {
  name: string;
  option: Exclude<Option, { kind: "group" }>;
};

/** `minScale` becomes `min-scale`. */
export function textName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The options of a table, groups flattened. */
export function textOptions(table: Options): TextOption[] {
  return Object.entries(table).flatMap(([name, option]) =>
    option.kind === "group"
      ? textOptions(option.options)
      : [{ name: textName(name), option }],
  );
}

/** Whether it may be given several times. */
export function repeats({ option }: TextOption): boolean {
  return option.kind === "patterns";
}

/**
 * Reads options from texts: `texts` returns all values of a name, `shown` formats a name for messages. Errors:
 * `invalid_option`
 */
export function readOptions<T extends Options>(
  table: T,
  texts: (name: string) => readonly string[],
  shown: (name: string) => string = (name) => `\`${name}\``,
): ValuesOf<T> {
  const values: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(table)) {
    if (option.kind === "group") {
      const parts = Object.keys(option.options);
      const group = readOptions(option.options, texts, shown);
      const told = Object.keys(group).length;
      if (told === 0) continue;
      if (told < parts.length)
        throw invalidOption(
          `both ${parts.map(textName).map(shown).join(" and ")} for a raw body, or neither for a file`,
          "one",
        );
      values[name] = group;
      continue;
    }
    const textual = textName(name);
    const given = texts(textual);
    if (given.length > 0)
      values[name] = readValue(option, given, shown(textual));
  }
  return values as ValuesOf<T>;
}

function readValue(
  option: TextOption["option"],
  texts: readonly string[],
  shownName: string,
): unknown {
  if (option.kind === "patterns") {
    const each = texts.flatMap((text) => text.split(","));
    return checkPatterns(option, each, shownName);
  }
  const value = readOptionText(option, texts[0]!);
  if (value !== undefined) return value;
  throw invalidOption(
    `${shownName} to be ${expected(option)}`,
    `"${texts[0]}"`,
  );
}

/** The value of a text; undefined if invalid. */
export function readOptionText(
  option: Exclude<TextOption["option"], { kind: "patterns" }>,
  text: string,
): unknown {
  switch (option.kind) {
    case "choice":
      return option.values.find((each) => `${each}` === text);
    case "whole": {
      const number = Number(text);
      const { least, most } = option;
      const isWhole = /^\d{1,16}$/.test(text) && Number.isSafeInteger(number);
      return isWhole && number >= least && number <= most ? number : undefined;
    }
    case "sizes":
      return SIZES.test(text) ? text.split(",").map(Number) : undefined;
    case "list":
      return text.split(",");
  }
}

/** Options as a query with its question mark; empty without any. */
export function writeQuery<T extends Options>(
  table: T,
  options: ValuesOf<T>,
): string {
  const query = new URLSearchParams();
  append(query, table, options);
  return query.size > 0 ? `?${query.toString()}` : "";
}

function append(query: URLSearchParams, table: Options, options: object): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const option = table[name]!;
    if (option.kind === "group") append(query, option.options, value as object);
    else if (option.kind === "patterns")
      for (const each of value as string[]) query.append(textName(name), each);
    else query.append(textName(name), String(value));
  }
}
