/** A directory to another, by the kernels in this process. */
import { basename, join, resolve } from "node:path";
import pc from "picocolors";
import { type Checkpoint, CONFIG_FILE } from "../checkpoints/checkpoint.ts";
import {
  type FolderRequest,
  isTaken,
  makesGguf,
  planFolder,
} from "../checkpoints/folder-plan.ts";
import { dataBytes } from "../checkpoints/shards.ts";
import { KeptValues } from "../formats/operations/nonfinite-values.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import type { Mxfp4Edge } from "../client/mxfp4-edge.ts";
import { checkApart } from "./apart.ts";
import { byteSize } from "../api/byte-size.ts";
import { convertByJob } from "./convert-by-job.ts";
import { tellKept } from "./convert-file.ts";
import { checkOutput } from "./files.ts";
import { checkOutputFolder, writeDirectory } from "./directory-output.ts";
import { localFolder } from "./ranged-files.ts";
import { tell } from "./tell.ts";

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
  loadKernelsFile();
  const folder = localFolder(from);
  const files = (await folder.list())!;
  const name = basename(resolve(from));
  const kept = new KeptValues();
  const watching = { withFigures, kept };
  const plan = planFolder(checkpoint, files, name, request, watching);
  const { operation } = request;
  const seconds = await writeDirectory({ operation, from, to, force, plan });
  tellKept(kept);
  const folders = (await folder.folders!()).map((each) => `${each}/`);
  const leftOut = [...plan.leftOut, ...folders];
  if (leftOut.length > 0) console.error(`left out: ${leftOut.join(", ")}`);
  if (checkpoint.config === undefined)
    console.error(`missing: ${CONFIG_FILE}, which a loader asks for`);
  const bytesWritten = dataBytes(plan.shards);
  tell(
    asJson,
    `${pc.bold(to)}: ${plan.done}, ${byteSize(bytesWritten)} in ${seconds.toFixed(1)} s`,
    { output: to, bytesWritten, seconds, done: plan.done, leftOut },
  );
}

/** The same by an edge. */
export async function convertDirectoryThere(
  edge: Mxfp4Edge,
  from: string,
  to: string,
  force: boolean,
  request: FolderRequest,
  asJson: boolean,
): Promise<void> {
  if (makesGguf(request)) {
    checkOutput(to, force);
    const files = (await localFolder(from).list())!.filter(isTaken);
    for (const file of files) checkApart(join(from, file), to);
  } else {
    checkOutputFolder(to, force);
    checkApart(from, to);
  }
  const started = Date.now();
  const [before, after] = await convertByJob(edge, from, to, request);
  const seconds = (Date.now() - started) / 1000;
  tell(
    asJson,
    `${pc.bold(to)}: ${byteSize(before)} → ${byteSize(after)} in ${seconds.toFixed(1)} s`,
    { output: to, bytesRead: before, bytesWritten: after, seconds },
  );
}
