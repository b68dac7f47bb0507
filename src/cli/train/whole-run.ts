/** A run of `train`: from its start on the edge until its checkpoint is saved, or it is left to the edge. */
import { readFileSync, rmSync } from "node:fs";
import pc from "picocolors";
import type { StepMetrics } from "../../api/run-metrics.ts";
import { hasEnded, type RunState } from "../../api/run-status.ts";
import type { RunClient } from "../../client/run-client.ts";
import { onEndSignal } from "../../local/signals.ts";
import { called } from "../called.ts";
import { refusedAsTyped } from "../file-arguments.ts";
import { follow, type Listener } from "../follow.ts";
import type { LiveCurve } from "../live-curve.ts";
import { textOf } from "../local-text.ts";
import type { Progress } from "../progress.ts";
import { timeSpent } from "../time-spent.ts";
import { beginRun } from "./begin-run.ts";
import { cancelOnce } from "./cancel.ts";
import { keepNothing } from "./kept-place.ts";
import { growthNotice, noteBeside } from "./kept-runs.ts";
import { lastRunNote } from "./last-run.ts";
import { MetricsFile } from "./metrics-file.ts";
import type { TrainOptions } from "./options.ts";
import { RunningSamples } from "./running-samples.ts";
import { saveCheckpoint } from "./save-checkpoint.ts";
import { tellOutcome, tellRun } from "./told-run.ts";
import type { TrainingEdge } from "./training-edge.ts";
import { type Unfinished, writeNote } from "./unfinished.ts";

const SAMPLE = { prompt: "The ", maxTokens: 300, temperature: 0.8, topK: 40 };

/** Output: for the terminal, or with `isJson`, JSON lines on stdout. */
export type Screen = {
  isJson: boolean;
  isTTY: boolean;
  progress: Progress;
  curve: LiveCurve;
};

/** `left`: an interrupted run to continue. Returns the exit code. Errors: those of the edge */
export async function wholeRun(
  edge: TrainingEdge,
  options: TrainOptions,
  left: Unfinished | undefined,
  screen: Screen,
): Promise<number> {
  const { progress, isJson } = screen;
  const { note, status } = await refusedAsTyped(
    beginRun(edge.client, options, left, progress),
  );
  const run = edge.client.run(note.run);
  const cancelling = new AbortController();
  onEndSignal(
    cancelOnce(progress, () => {
      cancelling.abort();
      edge.announceEnd();
      return run.setState("cancelled");
    }),
  );
  tellRun(progress, options, status);
  progress.line(`dashboard: ${edge.url}/?runs=${run.run}`);
  const startedMs = Date.now();
  const { hosted = 0 } = note;
  if (!hasEnded(status.state)) await edge.addTrainers(run, hosted);
  if (options.remote) {
    const most = Math.max(hosted, options.trainers);
    writeNote(noteFile(options, note), { ...note, hosted: most });
    if (options.remote.detach) return leaveToEdge(run, options, note, screen);
  }
  const isGoingOn = left !== undefined;
  const state = await followToEnd(run, options, note, isGoingOn, screen);
  const seconds = (Date.now() - startedMs) / 1000;
  const { checkpoint, history } = await keep(run, options, note, state);
  if (state === "finished" && options.sampleEvery > 0) {
    const { signal } = cancelling;
    const text = await textOf(readFileSync(checkpoint), { ...SAMPLE, signal });
    progress.line(`\n${pc.dim("a sample:")}\n${text}\n`);
  }
  const spent = timeSpent(history);
  if (spent) progress.line(spent);
  const code = await tellOutcome(
    run,
    state,
    seconds,
    checkpoint,
    options,
    progress,
  );
  if (isJson) {
    const { step, valLoss, valNatsPerByte } = await run.status();
    const ended = { state, step, valLoss, valNatsPerByte };
    tellJson({ type: "end", ...ended, seconds, checkpoint });
  }
  const isElsewhere = checkpoint !== note.kept.checkpoint;
  if (isElsewhere)
    progress.warn(
      pc.red(
        `Expected ${note.kept.checkpoint} to be new, but it was created during the run: the checkpoint is in ${checkpoint}`,
      ),
    );
  const notice = growthNotice(options.runs);
  if (notice) progress.warn(pc.dim(notice));
  return code || (isElsewhere ? 1 : 0);
}

/** The note that exists while the run is in progress. */
function noteFile(
  { remote, stateFolder }: TrainOptions,
  { kept }: Unfinished,
): string {
  return remote ? noteBeside(kept) : lastRunNote(stateFolder);
}

/** The run continues without this command, which keeps nothing of it. */
async function leaveToEdge(
  run: RunClient,
  { kept, remote }: TrainOptions,
  note: Unfinished,
  { progress, isJson }: Screen,
): Promise<number> {
  keepNothing(kept, note.kept);
  progress.line(
    `run ${run.run} continues on the edge: follow it with \`${called("watch", `${run.run} --url ${remote!.address.baseUrl}`)}\``,
  );
  if (isJson) {
    const { state, step } = await run.status();
    tellJson({ type: "left", run: run.run, state, step });
  }
  return 0;
}

/**
 * Shows and records events until the run has ended; returns its final state. `isGoingOn`: the run was started by an
 * earlier command.
 */
async function followToEnd(
  run: RunClient,
  { kept: { force }, remote, stateFolder, sampleEvery }: TrainOptions,
  note: Unfinished,
  isGoingOn: boolean,
  { progress, curve, isTTY, isJson }: Screen,
): Promise<RunState> {
  const metrics = new MetricsFile(note.kept.metrics, force || isGoingOn);
  if (isGoingOn) metrics.complete(await run.metrics());
  const samples = new RunningSamples(run, sampleEvery, progress);
  // On a local edge, there is nothing to continue before the first step.
  let isNoted = remote !== undefined;
  const notes: Listener = {
    event(event) {
      if (isJson) tellJson(event);
      if (isNoted || event.type !== "step") return;
      writeNote(lastRunNote(stateFolder), note);
      isNoted = true;
    },
  };
  const state = await follow(run, [notes, curve, progress, metrics, samples]);
  samples.stop();
  if (isTTY) progress.keepAbove();
  return state;
}

/** Saves metrics and checkpoint of an ended run; with full state if it may be resumed. */
async function keep(
  run: RunClient,
  options: TrainOptions,
  note: Unfinished,
  state: RunState,
): Promise<{ checkpoint: string; history: StepMetrics[] }> {
  const history = await run.metrics();
  const { kept } = note;
  const { force } = options.kept;
  new MetricsFile(kept.metrics, force).complete(history);
  const isFull = options.isFull || state === "cancelled";
  const checkpoint = await saveCheckpoint(run, kept.checkpoint, force, isFull);
  rmSync(noteFile(options, note), { force: true });
  return { checkpoint, history };
}

function tellJson(told: object): void {
  console.log(JSON.stringify(told));
}
