import { statSync } from "node:fs";
import { basename } from "node:path";
import { defineCommand } from "citty";
import { inspect, type Inspection } from "../checkpoints/inspect.ts";
import { inspectGguf } from "../checkpoints/inspect-gguf.ts";
import { aloneGguf } from "../checkpoints/checkpoint.ts";
import {
  type RangedFile,
  readFolder,
  readOne,
} from "../checkpoints/read-heads.ts";
import { flag, operand, valued } from "./argument.ts";
import { checkBearer } from "./environment.ts";
import { checkArguments } from "./file-arguments.ts";
import { renderInspection } from "./inspection-table.ts";
import {
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
  meta: {
    name: "inspect",
    description:
      "List the tensors of a model, and what each loader can use; reads headers only",
  },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const { path, json } = context.args as { path: string; json?: boolean };
    const inspection = await inspected(path, tokenOf(given.token));
    printAnswer(json, inspection, renderInspection);
  },
});

/** $HF_TOKEN as the hub's own programs read it: an empty one is none. */
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
    const name = basename(new URL(path).pathname);
    return inspectOne(name, await remoteFile(path, token));
  }
  if (path === STANDARD)
    return withInput(path, async (kept) =>
      inspectOne(path, await localFile(kept)),
    );
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory())
    return inspectDirectory(path);
  return inspectOne(basename(path), await localFile(path));
}

/** A model's files, or the GGUF that is alone in a directory. */
async function inspectDirectory(path: string): Promise<Inspection> {
  const folder = localFolder(path);
  const gguf = aloneGguf((await folder.list())!);
  if (gguf === undefined) return inspect(await readFolder(folder));
  return inspectOne(gguf, await folder.open(gguf));
}

async function inspectOne(name: string, file: RangedFile): Promise<Inspection> {
  const read = await readOne(name, file);
  return "pairs" in read ? inspectGguf(name, read) : inspect(read);
}
