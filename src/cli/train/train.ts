/**
 * A GPT, trained on this machine by the edge itself: `npm run train`, `mxfp4-edge train`.
 *
 * One workerd serves the API and holds the shards, one more a trainer computes gradients, or threads of this process
 * do; it starts them, asks for a run, and shows what its events say. The checkpoint comes back as a file.
 */
import { readFileSync, rmSync } from "node:fs";
import { relative } from "node:path";
import { parseArgs } from "citty";
import pc from "picocolors";
import { hasEnded } from "../../api/run-status.ts";
import { onEndSignal } from "../../local/signals.ts";
import { STATE_FOLDER } from "../../local/places.ts";
import { refusedAsTyped, UsageError } from "../file-arguments.ts";
import { cancelOnce, INTERRUPTED } from "./cancel.ts";
import { called } from "../called.ts";
import { textOf } from "../local-text.ts";
import { growthNotice, noteBeside } from "./kept-runs.ts";
import { clearLastRun, lastRunNote } from "./last-run.ts";
import { leftRun } from "./left-run.ts";
import { writeNote } from "./unfinished.ts";
import { follow, type Listener } from "../follow.ts";
import { LiveCurve } from "../live-curve.ts";
import { MetricsFile } from "./metrics-file.ts";
import { Progress } from "../progress.ts";
import { timeSpent } from "../time-spent.ts";
import { RunningSamples } from "./running-samples.ts";
import { saveCheckpoint } from "./save-checkpoint.ts";
import { localEdge, remoteEdge } from "./training-edge.ts";
import { parseTrainOptions } from "./options.ts";
import { withConfig } from "../config-file.ts";
import { openOrigin } from "./origin.ts";
import {
  type ToldArgs,
  toldArgs,
  type TrainArgs,
  trainArgs,
} from "./arguments.ts";
import { beginRun } from "./begin-run.ts";
import { checkPlace, keepNothing } from "./kept-place.ts";
import { tellOutcome, tellRun } from "./told-run.ts";

const SAMPLE = { prompt: "The ", maxTokens: 300, temperature: 0.8, topK: 40 };

/**
 * Do what was typed, which `trainArgs` has; `prepare` is called before the edge is started here. Returns the
 * exit code. Sockets to runtimes may linger afterwards.
 */
export async function train(
  typed: readonly string[],
  prepare?: () => Promise<void>,
): Promise<number> {
  onEndSignal(() => process.exit(INTERRUPTED));
  const rawArgs = [...withConfig(typed, trainArgs)];
  const args = parseArgs<typeof trainArgs>(rawArgs, trainArgs);
  return trainAs(args, toldArgs(args, rawArgs), prepare);
}

async function trainAs(
  args: TrainArgs,
  told: ToldArgs,
  prepare?: () => Promise<void>,
): Promise<number> {
  const origin = args.from ? await openOrigin(args.from) : undefined;
  const isLeft = args.resume === true && !origin;
  const options = parseTrainOptions(args, told, STATE_FOLDER, origin);
  const { stateFolder, runs, trainers, threads } = options;
  const isLocal = options.remote === undefined;
  if (isLeft && !isLocal)
    throw new UsageError(
      `Expected --resume with --from, got it with --url alone: the command that began a run there, typed again, goes on with it`,
    );
  const left = leftRun(options, isLeft);
  checkPlace(options.kept);
  const isJson = args.json === true;
  const shown = isJson ? process.stderr : process.stdout;
  const curve = new LiveCurve();
  const progress = new Progress(shown, options.steps, () => curve.lines());
  const report = (line: string) => progress.warn(line);
  const edge = options.remote
    ? remoteEdge({ ...options.remote, trainers, threads, report })
    : await localEdge({
        stateFolder,
        trainers,
        threads,
        report,
        prepare: async () => {
          const unfinished = left ? undefined : clearLastRun(stateFolder, runs);
          if (unfinished) report(unfinishedNotice(unfinished));
          await prepare?.();
        },
      });
  const untilEnd = async (): Promise<number> => {
    const { note, status } = await refusedAsTyped(
      beginRun(edge.client, options, left, progress),
    );
    const { kept } = note;
    const noteFile = isLocal ? lastRunNote(stateFolder) : noteBeside(kept);
    const run = edge.client.run(note.run);
    const sampling = new AbortController();
    onEndSignal(
      cancelOnce(progress, () => {
        sampling.abort();
        edge.announceEnd();
        return run.setState("cancelled");
      }),
    );
    tellRun(progress, options, status);
    progress.line(`its curves: ${edge.url}/?runs=${run.run}`);
    const started = Date.now();
    const { hosted = 0 } = note;
    if (!hasEnded(status.state)) await edge.addTrainers(run, hosted);
    if (!isLocal)
      writeNote(noteFile, {
        ...note,
        hosted: Math.max(hosted, trainers),
      });
    if (options.remote?.detach) {
      keepNothing(options.kept, kept);
      progress.line(
        `run ${run.run} goes on by itself: \`${called("watch", `${run.run} --url ${options.remote.address.baseUrl}`)}\` shows it`,
      );
      if (isJson) {
        const { state, step } = await run.status();
        console.log(
          JSON.stringify({ type: "left", run: run.run, state, step }),
        );
      }
      return 0;
    }
    const { force } = options.kept;
    const metrics = new MetricsFile(kept.metrics, force || left !== undefined);
    if (left) metrics.complete(await run.metrics());
    const samples = new RunningSamples(run, options.sampleEvery, progress);
    let isNoted = !isLocal;
    const notes: Listener = {
      event(event) {
        if (isJson) console.log(JSON.stringify(event));
        if (isNoted || event.type !== "step") return;
        writeNote(noteFile, note);
        isNoted = true;
      },
    };
    const state = await follow(run, [notes, curve, progress, metrics, samples]);
    samples.stop();
    if (shown.isTTY) for (const line of curve.lines()) progress.line(line);
    const seconds = (Date.now() - started) / 1000;
    const history = await run.metrics();
    metrics.complete(history);
    const isFull = options.isFull || state === "cancelled";
    const checkpoint = await saveCheckpoint(
      run,
      kept.checkpoint,
      force,
      isFull,
    );
    rmSync(noteFile, { force: true });
    if (state === "finished" && options.sampleEvery > 0) {
      const file = readFileSync(checkpoint);
      const text = await textOf(file, {
        ...SAMPLE,
        signal: sampling.signal,
      });
      progress.line(`\n${pc.dim("a sample:")}\n${text}\n`);
    }
    const spent = timeSpent(history);
    if (spent) progress.line(spent);
    let code = await tellOutcome(run, state, seconds, checkpoint, progress);
    if (isJson) {
      const { step, valLoss, valNatsPerByte } = await run.status();
      const ended = { state, step, valLoss, valNatsPerByte };
      console.log(
        JSON.stringify({ type: "end", ...ended, seconds, checkpoint }),
      );
    }
    if (checkpoint !== kept.checkpoint) {
      progress.warn(
        pc.red(
          `Expected ${kept.checkpoint} to be new, but it was made while the run went on: the checkpoint is in ${checkpoint}`,
        ),
      );
      code ||= 1;
    }
    const notice = growthNotice(runs);
    if (notice) progress.warn(pc.dim(notice));
    return code;
  };
  try {
    return await Promise.race([untilEnd(), edge.lost]);
  } finally {
    await edge.close();
  }
}

function unfinishedNotice(folder: string): string {
  const shown = relative(process.cwd(), folder);
  return pc.yellow(
    `the run before ended without a checkpoint: what it had is kept in ${shown}, and \`${called("serve", `--state ${shown}`)}\` serves it`,
  );
}
