/**
 * The command `mxfp4-edge`. Results go to files and stdout, everything else to stderr. Exit codes: 0 success, 1
 * failure, 2 usage error, 130 interrupted by Ctrl-C.
 */
import { runCommand } from "citty";
import pc from "picocolors";
import { VERSION } from "../api/version.ts";
import { closestHint } from "../formats/operations/closest-names.ts";
import {
  type CommandName,
  commandOf,
  COMMANDS,
  load,
  loadAll,
  NEWER_NODE,
} from "./commands.ts";
import { called as typeable } from "./called.ts";
import { completion, SHELLS } from "./completion.ts";
import { isUsageError, optionsOf, UsageError } from "./file-arguments.ts";
import { byNewerNode, endWithCaller, isNewEnough } from "./newer-node.ts";
import { nextStep } from "./next-step.ts";
import { endWithReader, explained } from "./system-errors.ts";
import { usage } from "./usage.ts";

const NAME = "mxfp4-edge";
const DESCRIPTION =
  "Quantize models to MXFP4 and train small GPTs, locally or on an edge (--url)";
const COMPLETION = "completion";
const EXIT_CODES =
  "Exit codes: 0 success; 1 failure, or an audit found a false step; 2 usage error; 130 interrupted by Ctrl-C.";

async function usageOf(name: CommandName): Promise<string> {
  const { description, args } = await load(name);
  return usage({ name: `${NAME} ${name}`, description, args });
}

function usageOfAll(): string {
  const commands = {
    ...Object.fromEntries(
      Object.entries(COMMANDS).map(([name, { description }]) => [
        name,
        description,
      ]),
    ),
    [COMPLETION]: `Print a completion script for ${SHELLS.join(", ")}`,
  };
  return usage({
    name: NAME,
    description: DESCRIPTION,
    commands,
    notes: [
      `\`${NAME} <command> --help\` shows the options of a command.`,
      EXIT_CODES,
    ],
  });
}

async function main(typed: string[]): Promise<number | void> {
  const called = commandOf(typed);
  if (typed.some((arg) => arg === "--help" || arg === "-h")) {
    console.log(await (called ? usageOf(called.name) : usageOfAll()));
    return;
  }
  if (typed.includes("--version")) {
    console.log(VERSION);
    return;
  }
  try {
    if (typed[0] === COMPLETION) {
      process.stdout.write(completion(NAME, await loadAll(), typed.slice(1)));
      return;
    }
    if (!called) {
      const all = [...Object.keys(COMMANDS), COMPLETION];
      const [name = ""] = typed;
      throw new UsageError(
        `Expected a command (${all.join(", ")}), got ${name === "" ? "none" : `"${name}"${closestHint(name, all)}`}`,
      );
    }
    const { name, rawArgs } = called;
    if (NEWER_NODE.includes(name) && !isNewEnough())
      return await byNewerNode(typed);
    endWithCaller();
    const { command, args } = await load(name);
    // Checked first: citty would complain about a missing operand, not about the unknown option typed instead.
    optionsOf(rawArgs, args);
    await runCommand(command, { rawArgs });
    return;
  } catch (error) {
    const isUsage = isUsageError(error);
    const text = explained(error);
    console.error(isUsage ? text : pc.red(text));
    const help = typeable(called?.name ?? "", "--help");
    const next = isUsage ? `See \`${help}\`` : nextStep(error);
    if (next !== undefined) console.error(next);
    return isUsage ? 2 : 1;
  }
}

endWithReader();
const typed = process.argv.slice(2);
const code = await main(typed);
// A command may have set its own.
if (code !== undefined) process.exitCode = code;
if (NEWER_NODE.includes(typed[0] ?? "")) process.exit();
