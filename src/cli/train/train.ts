/**
 * Trains a GPT on this machine's own edge: `npm run train`, `mxfp4-edge train`.
 *
 * One workerd serves the API and holds the shards; trainers are further workerds, or threads of this process. The
 * command starts them, creates a run, shows its events, and saves the checkpoint.
 */
import { relative } from "node:path";
import { parseArgs } from "citty";
import pc from "picocolors";
import { STATE_FOLDER } from "../../local/places.ts";
import { INTERRUPTED, onEndSignal } from "../../local/signals.ts";
import { called } from "../called.ts";
import { withConfig } from "../config-file.ts";
import { UsageError } from "../file-arguments.ts";
import { LiveCurve } from "../live-curve.ts";
import { Progress } from "../progress.ts";
import { shellWord } from "../shell-word.ts";
import {
  type ToldArgs,
  toldArgs,
  type TrainArgs,
  trainArgs,
} from "./arguments.ts";
import { checkPlace } from "./kept-place.ts";
import { clearLastRun } from "./last-run.ts";
import { leftRun } from "./left-run.ts";
import { parseTrainOptions } from "./options.ts";
import { openOrigin } from "./origin.ts";
import { localEdge, remoteEdge } from "./training-edge.ts";
import { refusedByOption } from "./typed-names.ts";
import { wholeRun } from "./whole-run.ts";

/**
 * Runs `train` with typed `trainArgs`; `prepare` is called before a local edge is started. Returns the exit code.
 * Sockets to runtimes may stay open afterwards.
 */
export async function train(
  typed: readonly string[],
  prepare?: () => Promise<void>,
): Promise<number> {
  onEndSignal(() => process.exit(INTERRUPTED));
  const rawArgs = [...withConfig(typed, trainArgs)];
  const args = parseArgs<typeof trainArgs>(rawArgs, trainArgs);
  return refusedByOption(trainAs(args, toldArgs(args, rawArgs), prepare));
}

async function trainAs(
  args: TrainArgs,
  told: ToldArgs,
  prepare?: () => Promise<void>,
): Promise<number> {
  const origin = args.from ? await openOrigin(args.from) : undefined;
  const isLeft = args.resume === true && !origin;
  const options = parseTrainOptions(args, told, STATE_FOLDER, origin);
  const { stateFolder, runs, trainers, threads, remote } = options;
  if (isLeft && remote)
    throw new UsageError(
      "Expected --resume with --from, got it with --url only: to continue a run on an edge, repeat the command that started it",
    );
  const left = leftRun(options, isLeft);
  checkPlace(options.kept);
  const isJson = args.json === true;
  const shown = isJson ? process.stderr : process.stdout;
  const curve = new LiveCurve();
  const progress = new Progress(shown, options.steps, () => curve.lines());
  const report = (line: string) => progress.warn(line);
  const edge = remote
    ? remoteEdge({ ...remote, trainers, threads, report })
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
  const screen = { isJson, isTTY: shown.isTTY, progress, curve };
  try {
    return await Promise.race([
      wholeRun(edge, options, left, screen),
      edge.lost,
    ]);
  } finally {
    await edge.close();
  }
}

function unfinishedNotice(folder: string): string {
  const shown = relative(process.cwd(), folder);
  return pc.yellow(
    `the previous run ended without a checkpoint: its state is kept in ${shown}, and \`${called("serve", `--state ${shellWord(shown)}`)}\` serves it`,
  );
}
