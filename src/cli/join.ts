import { availableParallelism, hostname } from "node:os";
import { extname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { type ArgsDef, defineCommand } from "citty";
import pc from "picocolors";
import { Client } from "../client/client.ts";
import { onEndSignal } from "../local/signals.ts";
import {
  addressOf,
  edgeArguments,
  runOfToken,
  whole,
} from "./edge-arguments.ts";
import { checkArguments, UsageError } from "./file-arguments.ts";
import type { ThreadMessage, ThreadTask } from "./join-thread.ts";

const args = {
  edge: {
    type: "positional",
    required: true,
    description: "URL of the edge that serves the run",
  },
  run: {
    type: "string",
    valueHint: "ID",
    description: "The run (default: the one that the join token opens)",
  },
  threads: {
    type: "string",
    valueHint: "N",
    description:
      "Trainers, each a thread (default: one a core, and no more than a step has microbatches)",
  },
  name: {
    type: "string",
    valueHint: "NAME",
    description:
      "What the run calls them, numbered (default: this machine's name)",
  },
  token: edgeArguments.token,
  json: {
    type: "boolean",
    description: "Tell of each microbatch, a line of JSON",
  },
} satisfies ArgsDef;

export const joinCommand = defineCommand({
  meta: {
    name: "join",
    description:
      "Train in a run on an edge with this machine, until the run has ended; it may leave at any time",
  },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    checkNode();
    const address = { ...addressOf(given), baseUrl: given.edge as string };
    const run = (given.run as string | undefined) ?? runOfToken(address.token);
    if (run === undefined) {
      throw new UsageError(
        "Expected --run, or a join token, which names its run, got neither",
      );
    }
    const { config, state } = await new Client(address).run(run).status();
    const threads =
      given.threads === undefined
        ? Math.min(availableParallelism(), config.microbatches)
        : whole("threads", given.threads, 1);
    const name = nameOf((given.name as string | undefined) ?? hostname());
    const isJson = given.json === true;
    if (!isJson)
      console.error(
        `run ${run} is ${state}; ${threads} trainers join as ${name}-1${threads > 1 ? ` to ${name}-${threads}` : ""}`,
      );
    const tasks = Array.from({ length: threads }, (_, index) => ({
      ...address,
      run,
      trainer: `${name}-${index + 1}`,
    }));
    await train(tasks, isJson);
  },
});

/** Until all have ended. Errors: what ended a trainer that the run refuses */
async function train(
  tasks: readonly ThreadTask[],
  isJson: boolean,
): Promise<void> {
  const workers = tasks.map((task) => new Worker(THREAD, { workerData: task }));
  let isLeaving = false;
  onEndSignal(() => {
    if (isLeaving) process.exit(LEFT);
    isLeaving = true;
    console.error(pc.yellow("leaving; Ctrl-C again to leave at once"));
    for (const worker of workers) worker.postMessage("leave");
  });
  let done = 0;
  const outcomes = await Promise.allSettled(
    workers.map(
      (worker, index) =>
        new Promise<string>((resolve, reject) => {
          worker.on("message", (message: ThreadMessage) => {
            if (message.type === "ended") resolve(message.outcome);
            else if (message.type === "refused")
              reject(new Error(message.text));
            else if (message.type === "trouble")
              console.error(
                pc.dim(`${tasks[index]!.trainer}: ${message.text}`),
              );
            else {
              done++;
              if (isJson) console.log(JSON.stringify(message));
            }
          });
          worker.on("error", reject);
          worker.on("exit", () =>
            reject(
              new Error(
                "Expected a trainer that ends by itself, got one that is gone",
              ),
            ),
          );
        }),
    ),
  );
  await Promise.all(workers.map((worker) => worker.terminate()));
  const refused = outcomes.find((each) => each.status === "rejected");
  if (refused) throw refused.reason;
  console.error(
    `${isLeaving ? "left" : "the run has ended"}: ${done} microbatches by this machine`,
  );
}

const LEAST_NODE = 22;
/** As a shell reports an end by Ctrl-C. */
const LEFT = 130;
/** Beside this file, and built so too. */
const THREAD = join(
  import.meta.dirname,
  `join-thread${extname(import.meta.filename)}`,
);

/** Trainers' kernels are of relaxed SIMD. Errors: a Node that has none */
function checkNode(): void {
  const { node } = process.versions;
  if (Number.parseInt(node) >= LEAST_NODE) return;
  throw new Error(
    `Expected Node ${LEAST_NODE} or later, which has relaxed SIMD, got ${node}`,
  );
}

/** A name that runs take, from any text; this process's own. */
function nameOf(text: string): string {
  const letters = text
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "");
  return `${letters.slice(0, 40) || "node"}-${process.pid}`;
}
