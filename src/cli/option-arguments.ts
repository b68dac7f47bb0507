/** Declared options as command line arguments: definitions for citty, and parsing. */
import type { ArgsDef } from "citty";
import { AppError } from "../api/errors.ts";
import type { Options, ValuesOf } from "../api/option-kinds.ts";
import {
  readOptions,
  type TextOption,
  textOptions,
} from "../api/option-text.ts";
import { type Arguments, UsageError } from "./file-arguments.ts";

/** Value names in the help. */
const HINTS = {
  whole: "N",
  patterns: "NAMES",
  list: "SCHEMES",
  sizes: "4,64",
} as const;

export function argumentsOf(table: Options): ArgsDef {
  return Object.fromEntries(
    textOptions(table).map(({ name, option }) => [name, argumentOf(option)]),
  );
}

function argumentOf(option: TextOption["option"]): ArgsDef[string] {
  const fallback = option.kind === "choice" ? option.default : undefined;
  const description =
    option.text + (fallback === undefined ? "" : ` (default: ${fallback})`);
  return option.kind === "choice"
    ? { type: "enum", options: option.values.map(String), description }
    : { type: "string", valueHint: HINTS[option.kind], description };
}

/** The values of a table's options. Errors: `UsageError` */
export function optionsFrom<T extends Options>(
  table: T,
  args: Arguments,
): ValuesOf<T> {
  const texts = (name: string): string[] => {
    const text = args[name] as string | undefined;
    return text === undefined ? [] : [text];
  };
  try {
    return readOptions(table, texts, (name) => `--${name}`);
  } catch (error) {
    if (error instanceof AppError) throw new UsageError(error.message);
    throw error;
  }
}
