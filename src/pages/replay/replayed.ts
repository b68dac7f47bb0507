/** What is computed again here, and what the run has told of it. */
import { messageOf } from "../../api/errors.ts";
import { computed, signal } from "@preact/signals";
import type { StepMetrics } from "../../api/run-metrics.ts";
import type { ReplayedStep } from "../../training/replayed-run.ts";
import { client, credentials } from "../shell/access.ts";
import { counted } from "../shell/format.ts";
import type {
  ReplayMessage,
  ReplayTask,
  WatchedLayer,
} from "../training/replay-messages.ts";

const told = signal<ReadonlyMap<number, StepMetrics>>(new Map());
export const steps = signal<readonly ReplayedStep[]>([]);
export const layers = signal<readonly WatchedLayer[]>([]);
export const said = signal("");
export const worker = signal<Worker | undefined>(undefined);

const differing = computed(
  () => steps.value.filter((step) => agreement(step) === "differs").length,
);

type Verdict = "verified" | "differs" | "not told";

/** The run tells of a step once it is committed. */
export function agreement(step: ReplayedStep): Verdict {
  const own = told.value.get(step.step);
  if (!own) return "not told";
  const isSame =
    own.trainLoss === step.trainLoss &&
    own.gradNorm === step.gradNorm &&
    own.valLoss === step.valLoss;
  return isSame ? "verified" : "differs";
}

/** What the form asks for. */
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
  stop("");
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
    told.value = new Map(metrics.map((each) => [each.step, each]));
    start(task);
  } catch (error) {
    said.value = messageOf(error);
  }
}

function start(task: ReplayTask): void {
  const made = new Worker("/pages/replay-worker.js", { type: "module" });
  worker.value = made;
  said.value = "computing…";
  made.addEventListener("message", ({ data }: MessageEvent<ReplayMessage>) => {
    if (data.type === "failed") stop(data.text);
    else if (data.type === "layers") layers.value = data.layers;
    else {
      steps.value = [...steps.value, data.step];
      if (data.step.step === task.step) stop(summary());
    }
  });
  made.addEventListener("error", ({ message }) => stop(message));
  made.postMessage(task);
}

function summary(): string {
  const count = steps.value.length;
  const all = counted(count, "step");
  return differing.value === 0
    ? `${all} computed again; none differs`
    : `${differing.value} of ${all} differ`;
}

export function stop(why: string): void {
  worker.value?.terminate();
  worker.value = undefined;
  said.value = why;
}
