/** Converts a directory to another, with the kernels in this process. */
import { join } from "node:path";
import pc from "picocolors";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { isTaken, planFolder } from "../checkpoints/folder-plan.ts";
import {
  type FolderRequest,
  makesGguf,
} from "../checkpoints/folder-request.ts";
import { dataBytes } from "../checkpoints/shards.ts";
import { KeptValues } from "../formats/operations/nonfinite-values.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import type { Mxfp4Edge } from "../client/mxfp4-edge.ts";
import { checkApart } from "./apart.ts";
import { byteSize } from "../api/byte-size.ts";
import { isObject, parsedObject } from "../api/json.ts";
import { cardName } from "./card-name.ts";
import { convertByJob } from "./convert-by-job.ts";
import { tellKept } from "./convert-file.ts";
import { checkOutput } from "./files.ts";
import { checkOutputFolder, writeDirectory } from "./directory-output.ts";
import { checkNamedFor } from "./output-kind.ts";
import { localFolder } from "./ranged-files.ts";
import { tell } from "./tell.ts";

/** Of sentence-transformers. */
const MODULES_FILE = "modules.json";

/** Hint for outputs named like a GGUF. */
const TO_GGUF = "`quantize --for llama.cpp` writes a GGUF";

export async function convertDirectory({
  from,
  to,
  asJson = false,
  force,
  checkpoint,
  request,
  withFigures = false,
}: {
  from: string;
  to: string;
  asJson?: boolean;
  force: boolean;
  checkpoint: Checkpoint;
  request: FolderRequest;
  withFigures?: boolean;
}): Promise<void> {
  checkOutputFolder(to, force);
  checkApart(from, to);
  checkNamedFor(to, "a folder", { "a GGUF": TO_GGUF });
  loadKernelsFile();
  const folder = localFolder(from);
  const files = (await folder.list())!;
  const folders = await foldersIn(folder);
  const modules = await modulesIn(folder, folders);
  const name = cardName(from);
  const kept = new KeptValues();
  const watching = { withFigures, kept };
  const plan = planFolder(checkpoint, files, name, request, watching);
  const { operation } = request;
  const seconds = await writeDirectory({ operation, from, to, force, plan });
  tellKept(kept);
  const leftOut = [...plan.leftOut, ...folders];
  tellLeft(leftOut, [...plan.missing, ...modules]);
  const bytesWritten = dataBytes(plan.shards);
  tell(
    asJson,
    `${pc.bold(to)}: ${plan.done}, ${byteSize(bytesWritten)} in ${seconds.toFixed(1)} s`,
    { output: to, bytesWritten, seconds, done: plan.done, leftOut },
  );
}

/** Subfolders, listed before the output may become one of them. */
async function foldersIn(
  folder: ReturnType<typeof localFolder>,
): Promise<string[]> {
  return (await folder.folders!()).map((each) => `${each}/`);
}

/**
 * Subfolders of layers behind the model, pooling and projections, which sentence-transformers lists in modules.json:
 * they are not converted, and have to be copied.
 */
async function modulesIn(
  folder: ReturnType<typeof localFolder>,
  folders: readonly string[],
): Promise<string[]> {
  const listed = parsedObject((await folder.text(MODULES_FILE)) ?? "[]");
  if (!Array.isArray(listed)) return [];
  const paths = listed.map((each) => (isObject(each) ? each.path : undefined));
  return folders.filter((each) => paths.includes(each.slice(0, -1)));
}

function tellLeft(
  leftOut: readonly string[],
  missing: readonly string[],
): void {
  if (leftOut.length > 0) console.error(`left out: ${leftOut.join(", ")}`);
  if (missing.length > 0)
    console.error(`missing: ${missing.join(", ")}, which loaders need`);
}

/** The same on an edge. */
export async function convertDirectoryThere(
  edge: Mxfp4Edge,
  from: string,
  to: string,
  force: boolean,
  request: FolderRequest,
  asJson: boolean,
): Promise<void> {
  const folder = localFolder(from);
  const files = (await folder.list())!;
  const folders = await foldersIn(folder);
  const modules = await modulesIn(folder, folders);
  if (makesGguf(request)) {
    checkOutput(to, force);
    for (const file of files.filter(isTaken)) checkApart(join(from, file), to);
    checkNamedFor(to, "a GGUF");
  } else {
    checkOutputFolder(to, force);
    checkApart(from, to);
    checkNamedFor(to, "a folder", { "a GGUF": TO_GGUF });
  }
  const started = Date.now();
  const end = await convertByJob(edge, from, to, request);
  const seconds = (Date.now() - started) / 1000;
  const [before, after] = [end.totalInputBytes!, end.outputBytes];
  const report = {
    output: to,
    bytesRead: before,
    bytesWritten: after,
    seconds,
  };
  const untaken = files.filter((file) => !isTaken(file));
  const leftOut = [...end.leftOut, ...untaken, ...folders];
  if (end.isFolder) tellLeft(leftOut, [...end.missing, ...modules]);
  tell(
    asJson,
    `${pc.bold(to)}: ${byteSize(before)} → ${byteSize(after)} in ${seconds.toFixed(1)} s`,
    end.isFolder ? { ...report, leftOut } : report,
  );
}
