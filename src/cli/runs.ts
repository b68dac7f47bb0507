import { type ArgsDef, defineCommand } from "citty";
import { AppError } from "../api/errors.ts";
import {
  hasEnded,
  type RunStatus,
  type StateRequest,
} from "../api/run-status.ts";
import type { Client } from "../client/client.ts";
import { alignedRows } from "./aligned-rows.ts";
import { called } from "./called.ts";
import {
  addressOf,
  clientOf,
  edgeArguments,
  runArgument,
  runOf,
} from "./edge-arguments.ts";
import { wholeNumber } from "./numbers.ts";
import { checkArguments, refusedAsTyped } from "./file-arguments.ts";
import { losses } from "./progress.ts";
import { Remedied } from "./next-step.ts";
import { printAnswer } from "./print-answer.ts";
import { shellWord } from "./shell-word.ts";

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
    const run = runOf(given);
    const status = await refusedAsTyped(run.rewind(step)).catch(
      (error: unknown) => {
        throw remedied(error, run.run, given);
      },
    );
    printAnswer(
      given.json,
      status,
      ({ run, state, step, config }) =>
        `run ${run} is ${state}, at ${step} of ${config.steps} steps`,
    );
  },
});

/** One that has ended stays as it is: another goes on from a state of it. */
function remedied(
  error: unknown,
  run: string,
  given: Parameters<typeof addressOf>[0],
): unknown {
  if (!(error instanceof AppError) || error.code !== "wrong_state")
    return error;
  const { baseUrl: url, token } = addressOf(given);
  const shown = given.token === undefined ? "$MXFP4_EDGE_TOKEN" : "TOKEN";
  const header =
    token === undefined ? "" : ` -H "Authorization: Bearer ${shown}"`;
  const path = `${url}/v1/runs/${run}`;
  const train = called(
    "train",
    `--text FILE --from state.safetensors --resume --url ${shellWord(url)}`,
  );
  return new Remedied(
    error.code,
    error.message,
    `Of a step that ${path}/states lists, \`curl -f -o state.safetensors${header} "${path}/checkpoint?state=full&step=STEP"\` saves the state; \`${train}\` goes on from it`,
  );
}

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
