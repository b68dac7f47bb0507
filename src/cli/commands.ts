/** What `mxfp4-edge` can be told to do, in the order in which its help has it. */
import type { ArgsDef, CommandDef } from "citty";

/** A name of two words is a command of its own. */
export const COMMANDS = {
  quantize: async () => (await import("./quantize.ts")).quantizeCommand,
  dequantize: async () =>
    (await import("./convert-blocks.ts")).dequantizeCommand,
  repack: async () => (await import("./convert-blocks.ts")).repackCommand,
  analyze: async () => (await import("./analyze.ts")).analyzeCommand,
  inspect: async () => (await import("./inspect.ts")).inspectCommand,
  upload: async () => (await import("./upload.ts")).uploadCommand,
  download: async () => (await import("./download.ts")).downloadCommand,
  serve: async () => (await import("./serve.ts")).serveCommand,
  train: async () => (await import("./train/command.ts")).trainCommand,
  ablation: async () => (await import("./ablation/command.ts")).ablationCommand,
  generate: async () => (await import("./generate.ts")).generateCommand,
  export: async () => (await import("./export.ts")).exportCommand,
  join: async () => (await import("./join.ts")).joinCommand,
  runs: async () => (await import("./runs.ts")).runsCommand,
  "runs export": async () =>
    (await import("./runs-export.ts")).runsExportCommand,
  watch: async () => (await import("./watch.ts")).watchCommand,
  pause: async () => (await import("./runs.ts")).pauseCommand,
  resume: async () => (await import("./runs.ts")).resumeCommand,
  cancel: async () => (await import("./runs.ts")).cancelCommand,
  audit: async () => (await import("./audit.ts")).auditCommand,
  rewind: async () => (await import("./runs.ts")).rewindCommand,
  tokens: async () => (await import("./trust.ts")).tokensCommand,
  revoke: async () => (await import("./trust.ts")).revokeCommand,
  reinstate: async () => (await import("./trust.ts")).reinstateCommand,
  fingerprint: async () => (await import("./trust.ts")).fingerprintCommand,
};

export type CommandName = keyof typeof COMMANDS;

export type LoadedCommand = {
  command: CommandDef;
  description: string;
  args: ArgsDef;
};

/** They start runtimes or train, for which Node 20 is too old; their sockets may outlast their work. */
export const NEWER_NODE: readonly string[] = [
  "serve",
  "train",
  "ablation",
  "join",
  "audit",
] satisfies CommandName[];

/** With what it can be told: for nothing but the command that was typed is its code loaded. */
export async function load(name: CommandName): Promise<LoadedCommand> {
  const command = (await COMMANDS[name]()) as CommandDef;
  const { description } = command.meta as { description: string };
  return { command, description, args: command.args as ArgsDef };
}

/** All of them, for what tells of all. */
export async function loadAll(): Promise<
  (LoadedCommand & { name: CommandName })[]
> {
  const names = Object.keys(COMMANDS) as CommandName[];
  return Promise.all(
    names.map(async (name) => ({ name, ...(await load(name)) })),
  );
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
