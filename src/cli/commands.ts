/**
 * The commands of `mxfp4-edge`, in the order of the help. Descriptions are here, so that the list of commands is shown
 * without loading their code.
 */
import type { ArgsDef, CommandDef } from "citty";

/** Names may have two words. */
export const COMMANDS = {
  quantize: {
    description: "Quantize a file or a model directory to MXFP4 or MXFP8",
    load: async () => (await import("./quantize.ts")).quantizeCommand,
  },
  dequantize: {
    description:
      "Decode the quantized tensors of a file or a model directory to floats",
    load: async () => (await import("./convert-blocks.ts")).dequantizeCommand,
  },
  repack: {
    description:
      "Change the layout of quantized tensors; their codes and scales stay the same",
    load: async () => (await import("./convert-blocks.ts")).repackCommand,
  },
  analyze: {
    description:
      "Report the quantization error of each tensor, for one or more schemes",
    load: async () => (await import("./analyze.ts")).analyzeCommand,
  },
  inspect: {
    description:
      "List the tensors of a model, and what each loader can use; reads headers only",
    load: async () => (await import("./inspect.ts")).inspectCommand,
  },
  upload: {
    description:
      "Upload a file or a directory to an edge; repeating the command continues an interrupted upload",
    load: async () => (await import("./upload.ts")).uploadCommand,
  },
  download: {
    description:
      "Download a file or a folder from an edge; repeating the command continues an interrupted download",
    load: async () => (await import("./download.ts")).downloadCommand,
  },
  serve: {
    description: "Serve the API and the pages",
    load: async () => (await import("./serve.ts")).serveCommand,
  },
  train: {
    description:
      "Train a small GPT or Llama in MXFP4, data-parallel, on a local edge or on the edge at --url",
    load: async () => (await import("./train/command.ts")).trainCommand,
  },
  ablation: {
    description:
      "Train with several recipes and seeds, and compare the results",
    load: async () => (await import("./ablation/command.ts")).ablationCommand,
  },
  generate: {
    description:
      "Generate text with a model directory, a GGUF, a checkpoint, or a run on an edge",
    load: async () => (await import("./generate.ts")).generateCommand,
  },
  export: {
    description: "Export a trained model for transformers or llama.cpp",
    load: async () => (await import("./export.ts")).exportCommand,
  },
  join: {
    description:
      "Train in a run of an edge with this machine until the run ends; Ctrl-C leaves it at any time",
    load: async () => (await import("./join.ts")).joinCommand,
  },
  runs: {
    description: "List the runs of an edge and their progress",
    load: async () => (await import("./runs.ts")).runsCommand,
  },
  "runs export": {
    description:
      "Export the metrics of a run's steps as CSV, JSON lines, or for TensorBoard",
    load: async () => (await import("./runs-export.ts")).runsExportCommand,
  },
  watch: {
    description:
      "Follow a run from its first kept event to its end; Ctrl-C leaves it running",
    load: async () => (await import("./watch.ts")).watchCommand,
  },
  pause: {
    description: "Pause a run; microbatches under way are still accepted",
    load: async () => (await import("./runs.ts")).pauseCommand,
  },
  resume: {
    description: "Resume a paused run",
    load: async () => (await import("./runs.ts")).resumeCommand,
  },
  cancel: {
    description: "End a run for good; its parameters and history are kept",
    load: async () => (await import("./runs.ts")).cancelCommand,
  },
  audit: {
    description:
      "Find the first false step of a run and its author: recompute steps on this machine (by default, search for it), or compare with another run",
    load: async () => (await import("./audit.ts")).auditCommand,
  },
  rewind: {
    description:
      "Discard a step of a run and all later ones; training continues from there",
    load: async () => (await import("./runs.ts")).rewindCommand,
  },
  tokens: {
    description: "List the join tokens of a run and their states, or issue one",
    load: async () => (await import("./trust.ts")).tokensCommand,
  },
  revoke: {
    description:
      "Revoke a join token at once; the results of its trainers for the current step are discarded",
    load: async () => (await import("./trust.ts")).revokeCommand,
  },
  reinstate: {
    description: "Reinstate a revoked or quarantined join token",
    load: async () => (await import("./trust.ts")).reinstateCommand,
  },
  fingerprint: {
    description:
      "Show or change the arithmetic fingerprint that a run requires of its trainers; a change restarts the current step",
    load: async () => (await import("./trust.ts")).fingerprintCommand,
  },
};

export type CommandName = keyof typeof COMMANDS;

export type LoadedCommand = {
  command: CommandDef;
  description: string;
  args: ArgsDef;
};

/** Commands that start runtimes or train need a newer Node than 20; their sockets may stay open after the work. */
export const NEWER_NODE: readonly string[] = [
  "serve",
  "train",
  "ablation",
  "join",
  "audit",
] satisfies CommandName[];

/** Loads a command and its arguments; only the called command's code is loaded. */
export async function load(name: CommandName): Promise<LoadedCommand> {
  const { description, load: loadCommand } = COMMANDS[name];
  const command = (await loadCommand()) as CommandDef;
  return { command, description, args: command.args as ArgsDef };
}

/** Loads all commands. */
export async function loadAll(): Promise<
  (LoadedCommand & { name: CommandName })[]
> {
  const names = Object.keys(COMMANDS) as CommandName[];
  return Promise.all(
    names.map(async (name) => ({ name, ...(await load(name)) })),
  );
}

/** The typed command and the arguments after it; undefined if unknown. */
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
