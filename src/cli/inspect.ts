import { basename } from "node:path";
import { defineCommand } from "citty";
import { inspect, type Inspection } from "../checkpoints/inspect.ts";
import { inspectFile } from "../checkpoints/inspect-file.ts";
import { aloneGguf } from "../checkpoints/checkpoint.ts";
import type { OpenBeside } from "../checkpoints/gguf-parts.ts";
import { readFolder } from "../checkpoints/read-heads.ts";
import { isDirectory } from "../local/folders.ts";
import { flag, operand, valued } from "./argument.ts";
import { checkBearer } from "./environment.ts";
import { checkArguments } from "./file-arguments.ts";
import { renderInspection } from "./inspection-table.ts";
import {
  localBeside,
  localFile,
  localFolder,
  remoteFile,
  remoteFolder,
} from "./ranged-files.ts";
import { printAnswer } from "./print-answer.ts";
import { STANDARD, withInput } from "./stdio.ts";

const args = {
  path: operand(
    "A model's directory, or a file of safetensors, GGUF or NumPy (- is stdin); by http, a directory ends in /",
  ),
  token: valued("TOKEN", "Bearer token for the URL (default: $HF_TOKEN)"),
  json: flag("Print JSON instead of a table"),
} as const;

export const inspectCommand = defineCommand({
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const { path, json } = context.args as { path: string; json?: boolean };
    const inspection = await inspected(path, tokenOf(given.token));
    printAnswer(json, inspection, renderInspection);
  },
});

/** $HF_TOKEN as the hub's own programs read it: empty means none. */
function tokenOf(typed: unknown): string | undefined {
  if (typed !== undefined) return checkBearer("--token", typed as string);
  const told = process.env.HF_TOKEN?.trim();
  return told ? checkBearer("$HF_TOKEN", told) : undefined;
}

async function inspected(
  path: string,
  token: string | undefined,
): Promise<Inspection> {
  if (/^https?:\/\//.test(path)) {
    if (path.endsWith("/"))
      return inspect(await readFolder(remoteFolder(path, token)));
    return inspectNamed(basename(new URL(path).pathname), (name) =>
      remoteFile(beside(path, name), token),
    );
  }
  if (path === STANDARD)
    return withInput(path, async (kept) =>
      inspectFile(path, await localFile(kept)),
    );
  if (isDirectory(path)) return inspectDirectory(path);
  return inspectNamed(basename(path), localBeside(path));
}

/** A model's directory, or one that contains a single GGUF. */
async function inspectDirectory(path: string): Promise<Inspection> {
  const folder = localFolder(path);
  const gguf = aloneGguf((await folder.list())!);
  if (gguf === undefined) return inspect(await readFolder(folder));
  return inspectNamed(gguf, (part) => folder.open(part));
}

async function inspectNamed(
  name: string,
  open: OpenBeside,
): Promise<Inspection> {
  return inspectFile(name, await open(name), open);
}

/** The URL of a file next to `url`, with the same query, which may be a signature for all of them. */
function beside(url: string, name: string): string {
  const other = new URL(url);
  other.pathname = other.pathname.replace(/[^/]*$/, name);
  return other.href;
}
