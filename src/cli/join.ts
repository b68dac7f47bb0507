import { availableParallelism, hostname } from "node:os";
import { type ArgsDef, defineCommand } from "citty";
import pc from "picocolors";
import { AppError } from "../api/errors.ts";
import { hasEnded } from "../api/run-status.ts";
import { Client } from "../client/client.ts";
import { askedTwice, INTERRUPTED, onEndSignal } from "../local/signals.ts";
import { flag, operand, valued } from "./argument.ts";
import { addressOf, runOfToken } from "./edge-arguments.ts";
import { wholeNumber } from "./numbers.ts";
import { checkArguments, UsageError } from "./file-arguments.ts";
import type { RunAddress } from "./join-thread.ts";
import {
  joinThreads,
  MOST_TRAINERS,
  trainerNames,
  trainersName,
} from "./joined-threads.ts";

const args = {
  edge: operand("URL of the edge that serves the run"),
  run: valued("ID", "Id of the run (default: the join token's run)"),
  threads: valued(
    "N",
    "Number of trainers, each a thread (default: one per core, at most one per microbatch of a step)",
  ),
  name: valued(
    "NAME",
    "Name of the trainers, followed by a number (default: this machine's name)",
  ),
  token: valued(
    "TOKEN",
    "A run's join token, or the edge's API_TOKEN (default: $MXFP4_EDGE_TOKEN)",
  ),
  json: flag("Print a line of JSON per microbatch"),
} satisfies ArgsDef;

export const joinCommand = defineCommand({
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const address = addressOf({ ...given, url: given.edge }, "the edge");
    const run = (given.run as string | undefined) ?? runOfToken(address.token);
    if (run === undefined) {
      throw new UsageError(
        "Expected --run, or a join token, which names its run, got neither",
      );
    }
    const { config, state } = await new Client(address).run(run).status();
    if (hasEnded(state)) {
      throw new AppError(
        "run_ended",
        `Expected a run that has not ended, got one that is ${state}`,
      );
    }
    const threads =
      given.threads === undefined
        ? Math.min(availableParallelism(), config.microbatches)
        : wholeNumber("threads", given.threads, 1, MOST_TRAINERS);
    const name = trainersName((given.name as string | undefined) ?? hostname());
    const isJson = given.json === true;
    if (!isJson)
      console.error(
        `run ${run} is ${state}; ${threads === 1 ? `a trainer joins as ${name}-1` : `${threads} trainers join as ${name}-1 to ${name}-${threads}`}`,
      );
    await train({ ...address, run }, trainerNames(name, threads), isJson);
  },
});

/** Trains until all trainers have ended, or the user ends them. */
async function train(
  run: RunAddress,
  trainers: readonly string[],
  isJson: boolean,
): Promise<void> {
  let done = 0;
  let isLeaving = false;
  const threads = joinThreads(
    run,
    trainers,
    (microbatch) => {
      done++;
      if (isJson) console.log(JSON.stringify(microbatch));
    },
    (line) => console.error(pc.dim(line)),
  );
  onEndSignal(
    askedTwice(
      () => {
        isLeaving = true;
        console.error(pc.yellow("leaving; Ctrl-C again to leave at once"));
        threads.leave();
      },
      () => process.exit(INTERRUPTED),
    ),
  );
  await threads.ended;
  console.error(
    `${isLeaving ? "left" : "the run has ended"}: ${done} microbatches by this machine`,
  );
}
