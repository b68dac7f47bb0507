import { open } from "node:fs/promises";
import { join } from "node:path";
import { type ArgsDef, defineCommand } from "citty";
import { SINGLE_FILE } from "../checkpoints/checkpoint.ts";
import { readInOrder } from "../checkpoints/tensor-reads.ts";
import { run } from "../formats/stream/conversion.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { exportedFile } from "../training/checkpoint-file.ts";
import type { CheckpointFolder } from "../training/checkpoint-folder.ts";
import { planCheckpointGguf } from "../training/checkpoint-gguf.ts";
import { byteSize } from "../api/byte-size.ts";
import { bytesOf } from "../client/broken-off.ts";
import { oneOf, operand } from "./argument.ts";
import { checkOutputFolder, writeFolder } from "./directory-output.ts";
import { clientOf, edgeArguments } from "./edge-arguments.ts";
import {
  type Arguments,
  checkArguments,
  outputArguments,
  UsageError,
} from "./file-arguments.ts";
import { namedModel } from "./named-model.ts";
import { checkNamedFor, type OutputKind } from "./output-kind.ts";
import { localFile } from "./ranged-files.ts";
import { checkOutputOrStdout, writeOutput } from "./stdio.ts";
import { tell } from "./tell.ts";
import { writeBehind } from "./write-behind.ts";

const FORMATS = ["hf", "gguf", "gguf-mxfp4"] as const;
type Format = (typeof FORMATS)[number];

const args = {
  model: operand(
    "A run's checkpoint, or the folder in which `train` has kept it; with --url, the id of a run",
  ),
  format: oneOf(
    FORMATS,
    "hf: a directory for transformers (with --url, a tar); gguf, gguf-mxfp4: a file for llama.cpp",
    "hf",
  ),
  ...outputArguments,
  output: {
    ...outputArguments.output,
    description: "Directory or file to write; for a file, - is stdout",
  },
  url: { ...edgeArguments.url, description: "Export a run of this edge" },
  token: edgeArguments.token,
} satisfies ArgsDef;

export const exportCommand = defineCommand({
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const format = given.format as Format;
    const to = given.output as string;
    const force = given.force === true;
    checkNamedFor(to, kindOf(format, given.url !== undefined), TO_GGUF);
    const bytes =
      given.url === undefined
        ? await exportFile(given.model as string, to, force, format)
        : await exportRun(given, to, force, format);
    if (to === "-") return;
    tell(given.json === true, `${to}: ${byteSize(bytes)}`, {
      output: to,
      bytesWritten: bytes,
    });
  },
});

const TO_GGUF = { "a GGUF": "--format gguf writes a GGUF" } as const;

function kindOf(format: Format, isThere: boolean): OutputKind {
  if (format !== "hf") return "a GGUF";
  return isThere ? "a tar" : "a folder";
}

/** Returns the bytes written. */
async function exportFile(
  from: string,
  to: string,
  force: boolean,
  format: Format,
): Promise<number> {
  if (format !== "hf") checkOutputOrStdout(to, force);
  else if (to === "-")
    throw new UsageError("Expected a folder to write, got - for stdout");
  else checkOutputFolder(to, force);
  loadKernelsFile();
  const folder = await exportedFile(
    await localFile(namedModel(from, "export")),
  );
  if (format === "hf") return writeFiles(folder, to, force);
  const plan = await planCheckpointGguf(folder, format);
  const files = new Map([[SINGLE_FILE, await folder.open(SINGLE_FILE)]]);
  const source = readInOrder(plan.reads, files, () => {});
  return writeOutput(to, run(plan.conversion(), source));
}

async function writeFiles(
  { files, weights }: CheckpointFolder,
  to: string,
  force: boolean,
): Promise<number> {
  await writeFolder(to, force, async (part) => {
    for (const { name, text, bytes } of files) {
      const handle = await open(join(part, name), "wx");
      try {
        if (text === undefined) await writeBehind(handle, weights(0, bytes));
        else await handle.writeFile(text);
      } finally {
        await handle.close();
      }
    }
  });
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

async function exportRun(
  given: Arguments,
  to: string,
  force: boolean,
  format: Format,
): Promise<number> {
  checkOutputOrStdout(to, force);
  const run = clientOf(given).run(given.model as string);
  return writeOutput(to, bytesOf(await run.checkpoint({ format })));
}
