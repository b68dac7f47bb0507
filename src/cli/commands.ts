/** What `mxfp4-edge` can be told to do, in the order in which its help has it. */
import type { ArgsDef } from "citty";
import { ablationCommand } from "./ablation/command.ts";
import { analyzeCommand } from "./analyze.ts";
import { auditCommand } from "./audit.ts";
import { dequantizeCommand } from "./dequantize.ts";
import { downloadCommand } from "./download.ts";
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
  rewindCommand,
  runsCommand,
} from "./runs.ts";
import { runsExportCommand } from "./runs-export.ts";
import { serveCommand } from "./serve.ts";
import { trainCommand } from "./train/command.ts";
import {
  fingerprintCommand,
  reinstateCommand,
  revokeCommand,
  tokensCommand,
} from "./trust.ts";
import { uploadCommand } from "./upload.ts";
import { watchCommand } from "./watch.ts";

/** A name of two words is a command of its own. */
export const COMMANDS = {
  quantize: quantizeCommand,
  dequantize: dequantizeCommand,
  repack: repackCommand,
  analyze: analyzeCommand,
  inspect: inspectCommand,
  upload: uploadCommand,
  download: downloadCommand,
  serve: serveCommand,
  train: trainCommand,
  ablation: ablationCommand,
  generate: generateCommand,
  export: exportCommand,
  join: joinCommand,
  runs: runsCommand,
  "runs export": runsExportCommand,
  watch: watchCommand,
  pause: pauseCommand,
  resume: resumeCommand,
  cancel: cancelCommand,
  audit: auditCommand,
  rewind: rewindCommand,
  tokens: tokensCommand,
  revoke: revokeCommand,
  reinstate: reinstateCommand,
  fingerprint: fingerprintCommand,
};

export type CommandName = keyof typeof COMMANDS;

/** They start runtimes or train, for which Node 20 is too old; their sockets may outlast their work. */
export const NEWER_NODE: readonly string[] = [
  "serve",
  "train",
  "ablation",
  "join",
  "audit",
] satisfies CommandName[];

export function descriptionOf(name: CommandName): string {
  return (COMMANDS[name].meta as { description: string }).description;
}

export function argsOf(name: CommandName): ArgsDef {
  return COMMANDS[name].args as ArgsDef;
}

/** The command that was typed, and what was typed behind it; undefined for none that there is. */
export function commandOf(
  typed: readonly string[],
): { name: CommandName; rawArgs: string[] } | undefined {
  for (const words of [2, 1]) {
    const name = typed.slice(0, words).join(" ");
    if (Object.hasOwn(COMMANDS, name))
      return { name: name as CommandName, rawArgs: typed.slice(words) };
  }
  return undefined;
}
