/** Whether a run came to what it should have: steps of it are computed here, or another run is held against it. */
import { type ArgsDef, defineCommand } from "citty";
import { Client } from "../client/client.ts";
import { loadTrainingKernels } from "../kernels/load-file.ts";
import { fingerprint } from "../kernels/matmul.ts";
import { checkpointFile } from "../training/checkpoint-file.ts";
import { flag, valued } from "./argument.ts";
import { type Compared, compareRuns } from "./compared-runs.ts";
import { edgeArguments, runArgument, runOf } from "./edge-arguments.ts";
import { wholeNumber } from "./numbers.ts";
import {
  type Arguments,
  asTyped,
  checkArguments,
  UsageError,
} from "./file-arguments.ts";
import { localFile } from "./ranged-files.ts";
import {
  type FalseStep,
  RecomputedRun,
  stepOfState,
} from "./recomputed-steps.ts";
import { printAnswer } from "./print-answer.ts";

const args = {
  ...runArgument,
  step: valued(
    "S",
    "Compute this step here; with --against: the last step to look at",
  ),
  all: flag("Compute every step, from the first whose state is kept"),
  state: valued(
    "FILE",
    "Compute from this checkpoint of all state, not from one that the edge has",
  ),
  against: valued(
    "RUN",
    "Compute nothing, but find the first step that differs from that of a run of the same config whose trainers you trust",
  ),
  "against-url": valued("URL", "The edge that it is on (default: the same)"),
  "against-token": valued("TOKEN", "The API_TOKEN there"),
  ...edgeArguments,
} satisfies ArgsDef;

/** `first` is null where nothing false was found; `last` is the last step that was looked at. */
export type Audit = Compared & {
  /** Steps that were computed here. */
  computed: number;
};

export const auditCommand = defineCommand({
  meta: {
    name: "audit",
    description:
      "Find the first step of a run that is false, and whose: compute one (--step), some, or all of them here, or hold another run against it",
  },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    checkTogether(given);
    const found =
      given.against === undefined
        ? await auditHere(given)
        : { ...(await compare(given)), computed: 0 };
    printAnswer(given.json, found, render);
    if (found.first) process.exitCode = 1;
  },
});

function checkTogether({ step, all, state, against }: Arguments): void {
  const computing = { all: all || undefined, state };
  for (const [name, value] of Object.entries(computing))
    if (against !== undefined && value !== undefined)
      throw new UsageError(
        `Expected --${name} without --against, which computes nothing, got both`,
      );
  if (all && step !== undefined)
    throw new UsageError("Expected --step or --all, got both");
}

function compare(given: Arguments): Promise<Compared> {
  const against = given.against as string;
  const url = given["against-url"] as string | undefined;
  const trusted =
    url === undefined
      ? runOf({ ...given, run: against })
      : asTyped(
          () =>
            new Client({
              baseUrl: url,
              token: given["against-token"] as string | undefined,
            }),
          { baseUrl: "--against-url", token: "--against-token" },
        ).run(against);
  return compareRuns(runOf(given), trusted, stepOf(given));
}

async function auditHere(given: Arguments): Promise<Audit> {
  const step = stepOf(given);
  const run = runOf(given);
  loadTrainingKernels();
  const { fingerprint: theirs } = await run.status();
  if (theirs !== null && theirs !== fingerprint())
    throw new UsageError(
      `Expected a machine that computes like the run's trainers, ${theirs}, got one like ${fingerprint()}`,
    );
  const shows = process.stderr.isTTY && !given.json;
  const recomputed = await RecomputedRun.open(run, (step) => {
    if (shows) process.stderr.write(`\rcomputed step ${step} `);
  });
  const { state } = given;
  try {
    if (state !== undefined)
      return await auditFrom(recomputed, state as string, step);
    if (step !== undefined) return await auditStep(recomputed, step);
    return given.all ? await auditAll(recomputed) : await probe(recomputed);
  } finally {
    if (shows) process.stderr.write("\r\x1b[2K");
  }
}

/** One step, from the state of the last one before it that is kept: those between are computed on the way. */
export async function auditStep(
  run: RecomputedRun,
  step: number,
): Promise<Audit> {
  checkTold(run, step);
  const start = run.states.findLast((each) => each <= step);
  if (start === undefined)
    throw new UsageError(
      `Expected a step from ${run.states[0] ?? "none"} on, the first of which the state is kept, got ${step}`,
    );
  const first = await run.firstFalse(start, step);
  return { last: step, first, computed: run.computed };
}

/** Each step, from the first of which there is the state. */
export async function auditAll(run: RecomputedRun): Promise<Audit> {
  const { last, states } = run;
  const [start = 0] = states;
  checkTold(run, start);
  const first = await run.firstFalse(start, last);
  return { last, first, computed: run.computed };
}

/**
 * Of a run that is false from some step on, that step, by halving: steps are computed of which the state is kept, and
 * then all between the last of them that is true and the first that is not.
 */
export async function probe(run: RecomputedRun): Promise<Audit> {
  const { states, last } = run;
  checkTold(run, states[0] ?? 0);
  const falseFrom = (from: number, to: number) => run.firstFalse(from, to);
  // Those below `low` are true, and that of `high` is not, or is behind the last.
  let [low, high] = [0, states.length];
  const newest = states.at(-1)!;
  if ((await falseFrom(newest, newest)) === null) low = high;
  else high--;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const step = states[middle]!;
    if (await falseFrom(step, step)) high = middle;
    else low = middle + 1;
  }
  const first = await falseFrom(
    states[Math.max(0, high - 1)]!,
    states[high] ?? last,
  );
  return { last, first, computed: run.computed };
}

async function auditFrom(
  run: RecomputedRun,
  file: string,
  step: number | undefined,
): Promise<Audit> {
  const folder = await checkpointFile(await localFile(file));
  const start = await stepOfState(folder);
  const last = step ?? start;
  checkTold(run, last);
  const first = await run.firstFalse(start, last, folder);
  return { last, first, computed: run.computed };
}

function checkTold({ last }: RecomputedRun, step: number): void {
  if (last < 0)
    throw new UsageError(
      "Expected a run that has committed a step, got one that has not",
    );
  if (step > last)
    throw new UsageError(
      `Expected a step up to ${last}, the last that is committed, got ${step}`,
    );
}

function stepOf({ step }: Arguments): number | undefined {
  return step === undefined ? undefined : wholeNumber("step", step, 0);
}

function render({ last, first, computed }: Audit): string {
  const looked = computed === 0 ? "" : `, ${computed} computed here`;
  if (!first) return `nothing false up to step ${last}${looked}`;
  return [
    `step ${first.step} is the first that should have come to something else${looked}`,
    ...linesOf(first),
  ].join("\n");
}

function linesOf({ microbatches, commit, evaluation }: FalseStep): string[] {
  return [
    ...microbatches.map(
      ({ index, authors }) => `  microbatch ${index} by ${authors.join(", ")}`,
    ),
    ...(commit ? ["  its commit does not follow from its microbatches"] : []),
    ...(evaluation ? ["  the loss of its evaluation"] : []),
  ];
}
