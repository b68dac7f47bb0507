/** Audits a run: recomputes steps here, or compares with another run. */
import { type ArgsDef, defineCommand } from "citty";
import { Client } from "../client/client.ts";
import { loadTrainingKernels } from "../kernels/load-file.ts";
import { fingerprint } from "../kernels/matmul.ts";
import { checkpointFile } from "../training/checkpoint-file.ts";
import { flag, valued } from "./argument.ts";
import {
  type Audit,
  auditAll,
  auditStep,
  checkTold,
  probe,
} from "./audited-steps.ts";
import { type Compared, compareRuns } from "./compared-runs.ts";
import { edgeArguments, runArgument, runOf } from "./edge-arguments.ts";
import { optionalCount } from "./numbers.ts";
import {
  type Arguments,
  asTyped,
  checkArguments,
  UsageError,
} from "./file-arguments.ts";
import { localFile } from "./ranged-files.ts";
import { RecomputedRun, stepOfState } from "./recomputed-steps.ts";
import type { FalseStep } from "./told-step.ts";
import { printAnswer } from "./print-answer.ts";

const args = {
  ...runArgument,
  step: valued(
    "S",
    "Recompute this step; with --against, the last step to compare",
  ),
  all: flag("Recompute all steps, from the first kept state"),
  state: valued(
    "FILE",
    "Recompute from this state=full checkpoint, not from a state on the edge",
  ),
  against: valued(
    "RUN",
    "Recompute nothing; find the first step that differs from this run, of the same config and with trainers that you trust",
  ),
  "against-url": valued(
    "URL",
    "Edge of the --against run (default: the same edge)",
  ),
  "against-token": valued("TOKEN", "API_TOKEN of --against-url"),
  ...edgeArguments,
} satisfies ArgsDef;

export const auditCommand = defineCommand({
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
        `Expected --${name} without --against, which recomputes nothing, got both`,
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
      `Expected a machine with the run's fingerprint, ${theirs}, got one with ${fingerprint()}`,
    );
  const shows = process.stderr.isTTY && !given.json;
  const recomputed = await RecomputedRun.open(run, (step) => {
    if (shows) process.stderr.write(`\rrecomputed step ${step} `);
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

async function auditFrom(
  run: RecomputedRun,
  file: string,
  step: number | undefined,
): Promise<Audit> {
  const folder = await checkpointFile(await localFile(file));
  const start = await stepOfState(folder);
  const last = step ?? start;
  checkTold(run, last);
  if (last < start)
    throw new UsageError(
      `Expected a step from ${start} on, that of --state, got ${last}`,
    );
  const first = await run.firstFalse(start, last, folder);
  return { last, first, computed: run.computed };
}

function stepOf({ step }: Arguments): number | undefined {
  return optionalCount("step", step, 0);
}

function render({ last, first, computed }: Audit): string {
  const looked = computed === 0 ? "" : `, ${computed} recomputed here`;
  if (!first) return `no false step up to step ${last}${looked}`;
  return [
    `step ${first.step} is the first false step${looked}`,
    ...linesOf(first),
  ].join("\n");
}

function linesOf(found: FalseStep): string[] {
  const { microbatches, commit, evaluation, gradient, chain } = found;
  return [
    ...microbatches.map(
      ({ index, authors }) => `  microbatch ${index} by ${authors.join(", ")}`,
    ),
    ...(commit ? ["  its commit does not follow from its microbatches"] : []),
    ...(evaluation
      ? ["  its validation loss is not that of its parameters"]
      : []),
    ...(gradient
      ? [
          `  a gradient or its commit differs; runs with different numbers of shards do not show whose it is, audit --step ${found.step} does`,
        ]
      : []),
    ...(chain
      ? [
          "  its digests and metrics do not follow from its record and the step before",
        ]
      : []),
  ];
}
