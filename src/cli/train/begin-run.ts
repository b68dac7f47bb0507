/** Starts a run on the edge that trains it: an interrupted one, or a new one, whose text is uploaded. */
import { openAsBlob } from "node:fs";
import { AppError } from "../../api/errors.ts";
import type { RunStatus } from "../../api/run-status.ts";
import type { Mxfp4Edge } from "../../client/mxfp4-edge.ts";
import { ownMark } from "../../local/processes.ts";
import { newRunName } from "../../training/run-request.ts";
import { called } from "../called.ts";
import type { Progress } from "../progress.ts";
import { keepFiles, keepNothing, told } from "./kept-place.ts";
import { noteBeside } from "./kept-runs.ts";
import type { TrainOptions } from "./options.ts";
import { withOrigin } from "./origin.ts";
import { claimNote, madeBy, type Unfinished } from "./unfinished.ts";

export async function beginRun(
  client: Mxfp4Edge,
  options: TrainOptions,
  left: Unfinished | undefined,
  progress: Progress,
): Promise<{ note: Unfinished; status: RunStatus }> {
  if (!left) return create(client, options, undefined, progress);
  const own = options.remote ? { ...left, process: ownMark() } : left;
  if (options.remote) claimNote(noteBeside(own.kept), own, told(options.kept));
  const status = await find(client, own, progress);
  return status
    ? { note: own, status }
    : create(client, options, own, progress);
}

/** `left`: an interrupted run with an id and a place that does not exist on the edge. */
async function create(
  client: Mxfp4Edge,
  options: TrainOptions,
  left: Unfinished | undefined,
  progress: Progress,
): Promise<{ note: Unfinished; status: RunStatus }> {
  const { textFile, tokenizer, request, origin, textDigest, remote } = options;
  const { dataset } = request;
  const begin = async (from?: string) => {
    const isGiven = origin?.tokenizer !== undefined;
    await client.putDataset(
      dataset,
      await openAsBlob(textFile),
      isGiven ? { tokenizer: "bpe", from } : tokenizer,
    );
    const { digest } = await client.readyDataset(dataset, (each) =>
      progress.dataset(each),
    );
    if (textDigest !== undefined && digest !== textDigest)
      throw new Error(
        `Expected --text to be the text of the resumed run, got ${textFile}, which is another`,
      );
    const note = left ?? {
      run: newRunName(),
      made: madeBy(options),
      kept: keepFiles(options.kept, (line) => progress.warn(line)),
      ...(remote && { process: ownMark() }),
    };
    // Noted before the request: the run may start, and the answer be lost.
    if (remote) claimNote(noteBeside(note.kept), note, told(options.kept));
    try {
      const asked = { ...request, run: note.run, from };
      return { note, status: await client.createRun(asked) };
    } catch (error) {
      if (error instanceof AppError && error.code !== "unavailable")
        keepNothing(options.kept, note.kept);
      throw error;
    }
  };
  return origin ? withOrigin(client, origin, begin) : begin();
}

/** Undefined if the edge has no such run: it was interrupted before its creation, or has been deleted. */
async function find(
  client: Mxfp4Edge,
  { run }: Unfinished,
  progress: Progress,
): Promise<RunStatus | undefined> {
  try {
    const status = await client.run(run).status();
    const { state, step } = status;
    const as =
      state === "running"
        ? ""
        : `, which is ${state}${state === "paused" ? `: \`${called("resume", run)}\` resumes it` : ""}`;
    progress.line(`continues the interrupted run at step ${step}${as}`);
    return status;
  } catch (error) {
    if (error instanceof AppError && error.code === "run_not_found")
      return undefined;
    throw error;
  }
}
