/** The recomputed steps, and the run's record of them. */
import { messageOf } from "../../api/errors.ts";
import { signal } from "@preact/signals";
import type { StepMetrics } from "../../api/run-metrics.ts";
import { client, credentials } from "../shell/access.ts";
import { counted } from "../shell/format.ts";
import type {
  ComputedStep,
  ReplayMessage,
  ReplayTask,
  WatchedLayer,
} from "../training/replay-messages.ts";

const told = signal<ReadonlyMap<number, StepMetrics>>(new Map());
export const steps = signal<readonly ComputedStep[]>([]);
export const layers = signal<readonly WatchedLayer[]>([]);
export const said = signal("");
export const worker = signal<Worker | undefined>(undefined);

type Verdict = "verified" | "differs" | "not told";

/** The run has a record once a step is committed. */
export function agreement(step: ComputedStep): Verdict {
  const own = told.value.get(step.step);
  if (!own) return "not told";
  // The digest also covers sums, rates, clipping and all earlier steps; steps of an earlier release have none.
  const isSameChain =
    own.results === null ||
    step.results === null ||
    own.results === step.results;
  const isSame =
    own.trainLoss === step.trainLoss &&
    own.gradNorm === step.gradNorm &&
    own.valLoss === step.valLoss;
  return isSame && isSameChain ? "verified" : "differs";
}

/** Number of the latest replay; answers for earlier ones are ignored. */
let begun = 0;

/** Starts the replay of the form. */
export async function begin(event: Event): Promise<void> {
  event.preventDefault();
  const form = new FormData(event.currentTarget as HTMLFormElement);
  const task: ReplayTask = {
    ...credentials(),
    run: form.get("run") as string,
    from: null,
    step: Number(form.get("step")),
    microbatch: Number(form.get("microbatch")),
  };
  const asked = new URLSearchParams({
    run: task.run,
    ...(form.get("from") === "state" && { from: "state" }),
    step: String(task.step),
    microbatch: String(task.microbatch),
  });
  history.replaceState(null, "", `?${asked}`);
  stop("asking the run…");
  const own = ++begun;
  steps.value = [];
  layers.value = [];
  try {
    const api = client().run(task.run);
    const [{ config }, metrics, states] = await Promise.all([
      api.status(),
      api.metrics(),
      api.states(),
    ]);
    if (task.step >= config.steps || task.microbatch >= config.microbatches)
      throw new Error(
        `Expected a step below ${config.steps} and a microbatch below ${config.microbatches}, got ${task.step} and ${task.microbatch}`,
      );
    if (form.get("from") === "state" || config.from) {
      const from = states.findLast((each) => each <= task.step);
      if (from === undefined)
        throw new Error(
          `Expected a step from ${states[0] ?? "none"} on, of which the run keeps states, got ${task.step}: ${states.join(", ")}`,
        );
      task.from = from;
    }
    if (own !== begun) return;
    hear(metrics);
    start(task);
  } catch (error) {
    if (own === begun) said.value = messageOf(error);
  }
}

function start(task: ReplayTask): void {
  const made = new Worker("/pages/replay-worker.js", { type: "module" });
  worker.value = made;
  said.value = "computing…";
  made.addEventListener("message", ({ data }: MessageEvent<ReplayMessage>) => {
    if (data.type === "failed") stop(data.text);
    else if (data.type === "layers") layers.value = data.layers;
    else if (data.type === "step") steps.value = [...steps.value, data.step];
    else void finish(task, made);
  });
  made.addEventListener("error", ({ message }) => stop(message));
  made.postMessage(task);
}

/** Reads the record again, for steps committed meanwhile. */
async function finish({ run }: ReplayTask, made: Worker): Promise<void> {
  let ending: string;
  try {
    if (steps.value.some((step) => agreement(step) === "not told"))
      hear(await client().run(run).metrics());
    ending = summary();
  } catch (error) {
    ending = messageOf(error);
  }
  if (worker.value === made) stop(ending);
}

function hear(metrics: readonly StepMetrics[]): void {
  told.value = new Map(metrics.map((each) => [each.step, each]));
}

function summary(): string {
  const { value: all } = steps;
  const count = (verdict: Verdict) =>
    all.filter((step) => agreement(step) === verdict).length;
  const [differing, untold] = [count("differs"), count("not told")];
  const updates = all.filter(({ gradNorm }) => gradNorm !== null).length;
  const of =
    counted(updates, "step") +
    (updates < all.length ? " and the last evaluation" : "");
  if (differing > 0) return `${differing} of ${of} differ`;
  if (untold === 0) return `${of} computed again; none differs`;
  return untold === all.length
    ? `${of} computed again; the run has told of none of them, so none is verified`
    : `${of} computed again; ${all.length - untold} verified, of ${untold} the run has not told`;
}

export function stop(why: string): void {
  worker.value?.terminate();
  worker.value = undefined;
  said.value = why;
}
