/** Arguments of the file commands besides the operations' options, and their checks. */
import { parseArgs } from "node:util";
import type { ArgsDef } from "citty";
import { AppError, type ErrorCode } from "../api/errors.ts";
import { closestHint } from "../formats/operations/closest-names.ts";
import { flag, operand, valued } from "./argument.ts";

/** Codes for invalid values in a request: options, a run's config, or a step. */
const REFUSED: readonly ErrorCode[] = [
  "invalid_config",
  "invalid_option",
  "future_step",
  "step_gone",
];

/** A usage error: exit code 2. */
export class UsageError extends Error {}

/** From this command, or from the argument parser. */
export function isUsageError(error: unknown): boolean {
  return (
    error instanceof UsageError ||
    (error instanceof Error && error.name === "CLIError")
  );
}

/**
 * Rephrases errors of `body` with the typed names: `topP` as --top-p unless `names` has another. Errors: `UsageError`
 */
export function asTyped<T>(
  body: () => T,
  names: Readonly<Record<string, string>> = {},
): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const typed = error.message.replace(
      /`(\w+)`/,
      (_, name: string) =>
        names[name] ??
        `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
    );
    throw new UsageError(typed);
  }
}

/** Turns an edge's refusal of typed values into a usage error. Errors: `UsageError` */
export async function refusedAsTyped<T>(
  asked: Promise<T>,
  codes = REFUSED,
): Promise<T> {
  try {
    return await asked;
  } catch (error) {
    throw isRefusedOption(error, codes) ? new UsageError(error.message) : error;
  }
}

export function isRefusedOption(
  error: unknown,
  codes = REFUSED,
): error is AppError {
  return error instanceof AppError && codes.includes(error.code);
}

/** As citty parses them: missing options are undefined. */
export type Arguments = Record<string, unknown> & { _: string[] };

export const fileArguments = {
  file: operand(
    "safetensors, .npy, GGUF, or raw values with --dtype and --shape; - is stdin",
  ),
  url: valued("URL", "Use this edge instead of computing locally"),
  token: valued("TOKEN", "The edge's API_TOKEN (default: $MXFP4_EDGE_TOKEN)"),
} satisfies ArgsDef;

export const outputArguments = {
  output: {
    type: "string",
    alias: "o",
    valueHint: "FILE",
    required: true,
    description: "File or directory to write; - is stdout",
  },
  force: flag("Overwrite existing output"),
  json: flag("Print what was written as JSON"),
} satisfies ArgsDef;

/**
 * Returns the arguments, repeated patterns joined. Errors: `UsageError` for arguments that `known` does not have, and
 * for options without a value or repeated
 */
export function checkArguments(
  { args, rawArgs }: { args: Arguments; rawArgs: string[] },
  known: ArgsDef,
): Arguments {
  const given = optionsOf(rawArgs, known);
  const places = Object.entries(known).filter(
    ([, { type }]) => type === "positional",
  );
  for (const [name] of places)
    if (args[name] === "")
      throw new UsageError(`Expected <${name}>, got an empty string`);
  if (args._.length > places.length) {
    const named = places.map(([name]) => `<${name}>`).join(" ");
    const expected = `${named || "options"} alone`;
    throw new UsageError(`Expected ${expected}, got ${args._.join(" ")}`);
  }
  if (args.json === true && args.output === "-")
    throw new UsageError(
      "Expected --output to be a file with --json, which prints to stdout, got -",
    );
  const checked = { ...args };
  for (const [name, values] of given) {
    if (["include", "exclude", "tensor-type"].includes(name))
      checked[name] = values.join(",");
    else if (values.length > 1)
      throw new UsageError(
        `Expected --${name} once, got it ${values.length} times`,
      );
  }
  return checked;
}

/**
 * The values of each option as typed: citty keeps only the last, and accepts any name. Errors: `UsageError` for options
 * that `known` does not have or without a value
 */
export function optionsOf(
  rawArgs: string[],
  known: ArgsDef,
): Map<string, string[]> {
  const options: Record<
    string,
    { type: "boolean" | "string"; short?: string }
  > = {};
  for (const [name, definition] of Object.entries(known)) {
    if (definition.type === "positional") continue;
    const type = definition.type === "boolean" ? "boolean" : "string";
    const short = "alias" in definition ? String(definition.alias) : undefined;
    options[name] = { type, ...(short === undefined ? {} : { short }) };
  }
  const { tokens } = parseArgs({
    args: rawArgs,
    options,
    strict: false,
    tokens: true,
  });
  const given = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const { name, rawName, inlineValue } = token;
    const option = options[name];
    if (option === undefined)
      throw new UsageError(
        `Expected an option of this command, got ${rawName}${closestHint(rawName, longNames(options))}`,
      );
    const value = token.value ?? "";
    if (option.type === "boolean" && inlineValue)
      throw new UsageError(
        `Expected --${name} without a value, got "${value}"`,
      );
    if (
      option.type === "string" &&
      (!value || (!inlineValue && value.startsWith("--")))
    )
      throw new UsageError(
        `Expected a value after ${rawName}, got ${value === "" ? "none" : `"${value}"`}`,
      );
    given.set(name, [...(given.get(name) ?? []), value]);
  }
  return given;
}

/** As they are typed. */
export function longNames(options: object): string[] {
  return Object.keys(options).map((name) => `--${name}`);
}
