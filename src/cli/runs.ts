import { type ArgsDef, defineCommand } from "citty";
import {
  hasEnded,
  type RunStatus,
  type StateRequest,
} from "../api/run-status.ts";
import type { Client } from "../client/client.ts";
import { alignedRows } from "./aligned-rows.ts";
import {
  clientOf,
  edgeArguments,
  runArgument,
  runOf,
} from "./edge-arguments.ts";
import { wholeNumber } from "./numbers.ts";
import { checkArguments, refusedAsTyped } from "./file-arguments.ts";
import { losses } from "./progress.ts";
import { printAnswer } from "./print-answer.ts";

export const runsCommand = defineCommand({
  args: edgeArguments,
  async run(context) {
    const given = checkArguments(context, edgeArguments);
    const statuses = await allRuns(clientOf(given));
    printAnswer(given.json, statuses, renderRuns);
  },
});

/** A run deleted meanwhile is omitted. */
async function allRuns(client: Client): Promise<RunStatus[]> {
  const runs = await client.runs();
  const statuses = await Promise.allSettled(
    runs.map(({ run }) => client.run(run).status()),
  );
  return statuses.flatMap((each) =>
    each.status === "fulfilled" ? [each.value] : [],
  );
}

function renderRuns(statuses: readonly RunStatus[]): string {
  if (statuses.length === 0) return "no runs";
  return alignedRows(
    [
      [
        "run",
        "name",
        "state",
        "step",
        "loss",
        "val loss",
        "recipe",
        "trainers",
      ],
      ...statuses.map((status) => [
        status.run,
        status.name ?? "",
        status.state,
        `${status.step}/${status.config.steps}`,
        losses(status.trainLoss, status.trainNatsPerByte, " per byte"),
        losses(status.valLoss, status.valNatsPerByte, " per byte"),
        status.config.recipe,
        String(status.trainers.length),
      ]),
    ],
    [0, 1, 2, 6],
  );
}

export const pauseCommand = stateCommand("paused");
export const resumeCommand = stateCommand("running");
export const cancelCommand = stateCommand("cancelled");

const rewindArgs = {
  ...runArgument,
  step: {
    type: "string",
    required: true,
    valueHint: "S",
    description:
      "First step to discard; training continues from the last kept state at or before it",
  },
  ...edgeArguments,
} satisfies ArgsDef;

export const rewindCommand = defineCommand({
  args: rewindArgs,
  async run(context) {
    const given = checkArguments(context, rewindArgs);
    const step = wholeNumber("step", given.step, 0);
    const status = await refusedAsTyped(runOf(given).rewind(step));
    printAnswer(
      given.json,
      status,
      ({ run, state, step, config }) =>
        `run ${run} is ${state}, at ${step} of ${config.steps} steps`,
    );
  },
});

function stateCommand(state: StateRequest["state"]) {
  const args = { ...runArgument, ...edgeArguments } satisfies ArgsDef;
  return defineCommand({
    args,
    async run(context) {
      const given = checkArguments(context, args);
      const status = await runOf(given).setState(state);
      printAnswer(
        given.json,
        status,
        ({ run, state, step, config }) =>
          `run ${run} is ${state}${hasEnded(state) ? "" : ","} at ${step} of ${config.steps} steps`,
      );
    },
  });
}
