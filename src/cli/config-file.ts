/**
 * Options from a TOML or JSON file, by their names on the command line. Typed options take precedence; otherwise the
 * two are treated alike, errors included.
 */
import { readFileSync, statSync } from "node:fs";
import { extname } from "node:path";
import type { ArgsDef } from "citty";
import { parse } from "smol-toml";
import { closestHint } from "../formats/operations/closest-names.ts";
import { valued } from "./argument.ts";
import { UsageError } from "./file-arguments.ts";

export const configArgument = {
  config: valued(
    "FILE",
    "Read options from a .toml or .json file; the command line takes precedence",
  ),
} as const satisfies ArgsDef;

const READERS: Record<string, (text: string) => unknown> = {
  ".toml": parse,
  ".json": JSON.parse,
};

/**
 * The arguments with the options of the --config file before them. Errors: `UsageError` for an unreadable file or an
 * unknown option
 */
export function withConfig(
  typed: readonly string[],
  known: ArgsDef,
): readonly string[] {
  const file = configOf(typed);
  if (file === undefined) return typed;
  const fromFile = Object.entries(readConfig(file)).flatMap(([name, value]) => {
    const definition = known[name];
    if (definition === undefined || name in configArgument) {
      const names = Object.keys(known).filter(
        (each) => !(each in configArgument),
      );
      throw new UsageError(
        `Expected the names in ${file} to be options (${names.join(", ")}), got "${name}"${closestHint(name, names)}`,
      );
    }
    if (isTyped(typed, name)) return [];
    return asTyped(file, name, value, definition.type === "boolean");
  });
  return [...fromFile, ...typed];
}

/** Whether an option was typed, with its value after it or after an equals sign. */
export function isTyped(typed: readonly string[], name: string): boolean {
  return typed.some(
    (arg) => arg === `--${name}` || arg.startsWith(`--${name}=`),
  );
}

function configOf(typed: readonly string[]): string | undefined {
  const index = typed.findIndex((arg) => /^--config(=|$)/.test(arg));
  if (index < 0) return undefined;
  const [, file] = /^--config=(.+)$/.exec(typed[index]!) ?? [];
  return file ?? typed[index + 1] ?? "";
}

function readConfig(file: string): object {
  const read = READERS[extname(file)];
  const isThere = statSync(file, { throwIfNoEntry: false })?.isFile();
  if (!read || !isThere) {
    const isNone = extname(file) in READERS;
    const got = isNone ? `"${file}", where there is none` : `"${file}"`;
    throw new UsageError(
      `Expected --config to be a .toml or .json file, got ${got}`,
    );
  }
  let config: unknown;
  try {
    // Strip the byte order mark that editors on Windows write.
    config = read(readFileSync(file, "utf8").replace(/^\ufeff/, ""));
  } catch (error) {
    const [why] = (error as Error).message.split("\n");
    throw new UsageError(
      `Expected ${file} to be ${extname(file).slice(1).toUpperCase()}: ${why}`,
    );
  }
  if (typeof config === "object" && config !== null && !Array.isArray(config))
    return config;
  throw new UsageError(
    `Expected ${file} to contain option names with values, got ${JSON.stringify(config)}`,
  );
}

/** An entry as it would be typed. */
function asTyped(
  file: string,
  name: string,
  value: unknown,
  isSwitch: boolean,
): string[] {
  const parts = Array.isArray(value) ? value : [value];
  const kinds = isSwitch ? ["boolean"] : ["string", "number"];
  if (
    parts.length === 0 ||
    (isSwitch && Array.isArray(value)) ||
    !parts.every((part) => kinds.includes(typeof part))
  ) {
    throw new UsageError(
      `Expected "${name}" of ${file} to be ${isSwitch ? "true or false" : "a string, a number or a list of these"}, got ${JSON.stringify(value)}`,
    );
  }
  if (!isSwitch) return [`--${name}=${parts.join(",")}`];
  return value === true ? [`--${name}`] : [];
}
