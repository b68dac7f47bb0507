/**
 * What every script of package.json does first: `--help` and `--version` only tell, and what it does not
 * know it refuses, in one line and before anything has changed.
 */
import { parseArgs as tokensOf } from "node:util";
import { type ArgsDef, type ParsedArgs, parseArgs } from "citty";
import { endWithNpm } from "../local/npm-parent.ts";
import { VERSION } from "../api/version.ts";
import { isUsageError, longNames, UsageError } from "../cli/file-arguments.ts";
import { nextStep } from "../cli/next-step.ts";
import { endWithReader, explained } from "../cli/system-errors.ts";
import { usage } from "../cli/usage.ts";
import { closestHint } from "../formats/operations/closest-names.ts";

/** A command of citty, and what citty does not know. */
export type Script<T extends ArgsDef> = {
  /** `name` is how it is called: `npm run train --`. */
  meta: { name: string; description: string };
  args: T;
  /** What may follow the options, any number of them. */
  operands?: { name: string; description: string };
  /** The command that everything but `--help` and `--version` goes to, and that judges it. */
  passedTo?: string;
  /** Returns the exit code, if it is not 0. */
  run(called: {
    args: ParsedArgs<T>;
    rawArgs: string[];
  }): Promise<number | void>;
};

export async function runScript<const T extends ArgsDef>(
  script: Script<T>,
): Promise<void> {
  endWithReader();
  const rawArgs = process.argv.slice(2);
  if (rawArgs.some((arg) => arg === "--help" || arg === "-h")) {
    console.log(usage({ ...script.meta, ...script }));
    return;
  }
  if (rawArgs.includes("--version")) {
    console.log(VERSION);
    return;
  }
  endWithNpm();
  try {
    if (!script.passedTo) checkKnown(rawArgs, script);
    const args = parseArgs<T>(rawArgs, script.args);
    const code = await script.run({ args, rawArgs });
    if (code !== undefined) process.exitCode = code;
  } catch (error) {
    console.error(explained(error));
    const isUsage = isUsageError(error);
    const next = isUsage
      ? `See \`${script.meta.name} --help\``
      : nextStep(error);
    if (next !== undefined) console.error(next);
    process.exitCode = isUsage ? 2 : 1;
  }
}

/** citty lets unknown options pass; a misspelt one would be ignored for minutes. */
function checkKnown(
  rawArgs: string[],
  { args, operands }: Pick<Script<ArgsDef>, "args" | "operands">,
): void {
  const known: Record<string, { type: "boolean" | "string" }> = {};
  for (const [name, { type }] of Object.entries(args))
    known[name] = { type: type === "boolean" ? "boolean" : "string" };
  const { tokens } = tokensOf({
    args: rawArgs,
    options: known,
    strict: false,
    allowNegative: true,
    tokens: true,
  });
  const names = longNames({ ...known, help: 0, version: 0 });
  const expected = names.join(" ");
  for (const token of tokens) {
    if (token.kind === "positional" && !operands)
      throw new UsageError(`Expected one of ${expected}, got ${token.value}`);
    if (token.kind !== "option") continue;
    const { name, rawName, value } = token;
    const option = known[name];
    if (!option || (rawName.startsWith("--no-") && option.type === "string"))
      throw new UsageError(
        `Expected one of ${expected}, got ${rawName}${closestHint(rawName, names)}`,
      );
    if (option.type === "string" && !value)
      throw new UsageError(`Expected a value after ${rawName}, got none`);
    if (option.type === "boolean" && value !== undefined)
      throw new UsageError(
        `Expected ${rawName} without a value, got "${value}"`,
      );
  }
}
