/**
 * The command `mxfp4-edge`. Results go to files and stdout, everything else to stderr. Exit codes: 0
 * done, 1 it could not be done, 2 the command was not called as it can be.
 */
import { stripVTControlCharacters } from "node:util";
import { type ArgsDef, defineCommand, runCommand } from "citty";
import pc from "picocolors";
import { VERSION } from "../api/version.ts";
import { analyzeCommand } from "./analyze.ts";
import { auditCommand } from "./audit.ts";
import { dequantizeCommand } from "./dequantize.ts";
import { downloadCommand } from "./download.ts";
import { UsageError } from "./file-arguments.ts";
import { exportCommand } from "./export.ts";
import { generateCommand } from "./generate.ts";
import { inspectCommand } from "./inspect.ts";
import { joinCommand } from "./join.ts";
import { quantizeCommand } from "./quantize.ts";
import { repackCommand } from "./repack.ts";
import {
  cancelCommand,
  pauseCommand,
  resumeCommand,
  runsCommand,
} from "./runs.ts";
import {
  fingerprintCommand,
  reinstateCommand,
  revokeCommand,
  tokensCommand,
} from "./trust.ts";
import { uploadCommand } from "./upload.ts";
import { usage } from "./usage.ts";
import { watchCommand } from "./watch.ts";

const COMMANDS = {
  quantize: quantizeCommand,
  dequantize: dequantizeCommand,
  repack: repackCommand,
  analyze: analyzeCommand,
  inspect: inspectCommand,
  upload: uploadCommand,
  download: downloadCommand,
  generate: generateCommand,
  export: exportCommand,
  join: joinCommand,
  runs: runsCommand,
  watch: watchCommand,
  pause: pauseCommand,
  resume: resumeCommand,
  cancel: cancelCommand,
  audit: auditCommand,
  tokens: tokensCommand,
  revoke: revokeCommand,
  reinstate: reinstateCommand,
  fingerprint: fingerprintCommand,
};

const command = defineCommand({
  subCommands: COMMANDS,
});

type Name = keyof typeof COMMANDS;

const NAME = "mxfp4-edge";
const DESCRIPTION =
  "MXFP4 files, here or on an edge (--url), and the training runs of an edge";

function usageOf(name: Name): string {
  const { meta, args } = COMMANDS[name];
  const { description } = meta as { description: string };
  return usage({
    name: `${NAME} ${name}`,
    description,
    args: args as ArgsDef,
  });
}

function usageOfAll(): string {
  const described = Object.entries(COMMANDS).map(([name, { meta }]) => [
    name,
    (meta as { description: string }).description,
  ]);
  return usage({
    name: NAME,
    description: DESCRIPTION,
    commands: Object.fromEntries(described) as Record<string, string>,
  });
}

async function main(rawArgs: string[]): Promise<number> {
  const [name = ""] = rawArgs;
  const isKnown = Object.hasOwn(COMMANDS, name);
  if (rawArgs.some((arg) => arg === "--help" || arg === "-h")) {
    console.log(isKnown ? usageOf(name as Name) : usageOfAll());
    return 0;
  }
  if (rawArgs.includes("--version")) {
    console.log(VERSION);
    return 0;
  }
  try {
    if (!isKnown) {
      const all = Object.keys(COMMANDS).join(", ");
      throw new UsageError(`Expected one of ${all}, got "${name}"`);
    }
    await runCommand(command, { rawArgs });
    return 0;
  } catch (error) {
    const isUsage =
      error instanceof UsageError ||
      (error instanceof Error && error.name === "CLIError");
    const message = error instanceof Error ? error.message : String(error);
    const text = stripVTControlCharacters(message); // citty colours its own
    console.error(isUsage ? text : pc.red(text));
    const help = isKnown ? `mxfp4-edge ${name} --help` : "mxfp4-edge --help";
    if (isUsage) console.error(`${help} tells what there is`);
    return isUsage ? 2 : 1;
  }
}

process.exitCode = await main(process.argv.slice(2));
