/** The service's metrics, in the text format of Prometheus. */
import { hasEnded } from "../../api/run-status.ts";
import { isolateMemory } from "../../memory/ledger.ts";
import { directoryStub } from "../../objects/directory/directory.ts";
import { jobStub } from "../../objects/job/job.ts";
import { OWNER } from "../../objects/platform/author.ts";
import { runStub } from "../../objects/run/run.ts";
import { AppError } from "../../api/errors.ts";
import type { Env } from "../env.ts";
import { family, labelled, requestCounts } from "./request-counts.ts";

/** Each is queried, and a request on the platform's free plan may make 50 calls. */
const MAX_ASKED = 20;

export async function serviceMetrics(env: Env): Promise<string> {
  const [runs, jobs] = await Promise.all([runStates(env), jobStates(env)]);
  const lines = [
    ...requestCounts.lines(),
    ...family(
      "memory_held_bytes",
      "gauge",
      "What this isolate's ledger has: fixed, reserved and kept",
      [["", isolateMemory.heldBytes]],
    ),
    ...family(
      "runs",
      "gauge",
      `Runs by state, of the latest 1000; of those under way, the latest ${MAX_ASKED}`,
      byState(runs),
    ),
    ...family(
      "jobs",
      "gauge",
      `Jobs by state, of the latest ${MAX_ASKED}`,
      byState(jobs),
    ),
  ];
  return `${lines.join("\n")}\n`;
}

/** The directory knows whether a run has ended; only the run itself knows its state. */
async function runStates(env: Env): Promise<string[]> {
  const runs = await directoryStub(env).runs();
  const underWay = runs.filter(({ ended }) => !ended).slice(0, MAX_ASKED);
  const states = await Promise.all(
    underWay.map(async ({ run }) => {
      try {
        const { state } = await runStub(env, run).status(OWNER);
        return hasEnded(state) ? "ended" : state;
      } catch (error) {
        // Its creation is in progress or was interrupted.
        if (error instanceof AppError && error.code === "run_not_found")
          return "starting";
        throw error;
      }
    }),
  );
  return [...states, ...runs.filter(({ ended }) => ended).map(() => "ended")];
}

async function jobStates(env: Env): Promise<string[]> {
  const entries = await directoryStub(env).jobs(MAX_ASKED, null);
  const jobs = await Promise.all(
    entries.map(({ job }) => jobStub(env, job).summary()),
  );
  // Null if it was deleted meanwhile.
  return jobs.flatMap((job) => (job ? [job.state] : []));
}

function byState(states: readonly string[]): [string, number][] {
  const groups = Object.groupBy(states, (state) => state);
  return Object.entries(groups).map(([state, each]) => [
    labelled({ state }),
    each!.length,
  ]);
}
