/**
 * `/replay`: a run computed again in this browser, from its config alone, or from a state that the run keeps. Beside
 * each step stands whether its losses and its gradient's norm are those that the run has told, to the last bit; and of one microbatch,
 * what four bits make of its gradients.
 */
import { computed, effect, signal } from "@preact/signals";
import { html } from "htm/preact";
import { render } from "preact";
import type { StepMetrics } from "../api/run-metrics.ts";
import type { RunSummary } from "../api/run-status.ts";
import type { ReplayedStep } from "../training/replayed-run.ts";
import { BarChart } from "./charts/bars.ts";
import {
  client,
  credentials,
  enter,
  isLetIn,
  messageOf,
} from "./shell/access.ts";
import { counted, figure, share } from "./shell/format.ts";
import { Door, PageFrame } from "./shell/frame.ts";
import type {
  ReplayMessage,
  ReplayTask,
  WatchedLayer,
} from "./training/replay-messages.ts";

const query = new URLSearchParams(location.search);

const runs = signal<readonly RunSummary[]>([]);
const told = signal<ReadonlyMap<number, StepMetrics>>(new Map());
const steps = signal<readonly ReplayedStep[]>([]);
const layers = signal<readonly WatchedLayer[]>([]);
const said = signal("");
const worker = signal<Worker | undefined>(undefined);

const differing = computed(
  () => steps.value.filter((step) => verdictOf(step) === "differs").length,
);

type Verdict = "verified" | "differs" | "not told";

/** The run tells of a step once it is committed. */
function verdictOf(step: ReplayedStep): Verdict {
  const own = told.value.get(step.step);
  if (!own) return "not told";
  const isSame =
    own.trainLoss === step.trainLoss &&
    own.gradNorm === step.gradNorm &&
    own.valLoss === step.valLoss;
  return isSame ? "verified" : "differs";
}

async function begin(event: Event): Promise<void> {
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

function stop(why: string): void {
  worker.value?.terminate();
  worker.value = undefined;
  said.value = why;
}

function Replay() {
  return html`
    <section class="card">
      <h1>Replay a run</h1>
      <p>
        Every byte of a run follows from its config. This browser computes it
        again, with the kernels of the edge, and compares what it gets with what
        the run has told: from the first step on, which trusts nobody; or from
        the last state before the step that the run keeps, which is sooner.
      </p>
      <form class="row" onSubmit=${begin}>
        <label>
          Run${" "}
          <input
            name="run"
            required
            list="runs"
            defaultValue=${query.get("run") ?? ""}
          />
        </label>
        <datalist id="runs">
          ${runs.value.map(({ run }) => html`<option value=${run}></option>`)}
        </datalist>
        <label>
          From${" "}
          <select name="from">
            <option value="start">the first step</option>
            <option value="state" selected=${query.get("from") === "state"}>
              the last state that is kept
            </option>
          </select>
        </label>
        <label>
          Up to step${" "}
          <input
            name="step"
            type="number"
            min="0"
            required
            defaultValue=${query.get("step") ?? 5}
          />
        </label>
        <label>
          Its microbatch${" "}
          <input
            name="microbatch"
            type="number"
            min="0"
            required
            defaultValue=${query.get("microbatch") ?? 0}
          />
        </label>
        <button class="main" disabled=${worker.value !== undefined}>
          Replay
        </button>
        <button
          type="button"
          disabled=${worker.value === undefined}
          onClick=${() => stop("stopped")}
        >
          Stop
        </button>
      </form>
      <p role="status" id="said">${said.value}</p>
      ${steps.value.length > 0 && html`<${Steps} />`}
    </section>
    ${layers.value.length > 0 && html`<${Microscope} />`}
  `;
}

function Steps() {
  return html`<div class="wide" tabindex="0" role="region" aria-label="Steps">
    <table id="steps">
      <thead>
        <tr>
          ${[
            "Step",
            "Training loss",
            "Gradient norm",
            "Validation loss",
            "",
          ].map((name) =>
            name ? html`<th scope="col">${name}</th>` : html`<td></td>`,
          )}
        </tr>
      </thead>
      <tbody>
        ${steps.value
          .slice(-20)
          .reverse()
          .map((each) => {
            const verdict = verdictOf(each);
            return html`<tr key=${each.step}>
              <th scope="row">${each.step}</th>
              <td>${each.trainLoss ?? "–"}</td>
              <td>${each.gradNorm ?? "–"}</td>
              <td>${each.valLoss ?? "–"}</td>
              <td
                class=${verdict === "verified" ? "good" : verdict === "differs" ? "alarm" : "quiet"}
              >
                ${verdict}
              </td>
            </tr>`;
          })}
      </tbody>
    </table>
  </div>`;
}

/** The least scale: of a block of zeros. */
const ZEROS = -127;

/** Layers over each other share the axis of scales, on which blocks of zeros would be far away. */
function Microscope() {
  const exponents = layers.value.flatMap(({ scales }) =>
    scales.flatMap(({ exponent }) => (exponent === ZEROS ? [] : exponent)),
  );
  const [least, most] = [Math.min(...exponents), Math.max(...exponents)];
  const axis = Array.from({ length: most - least + 1 }, (_, i) => least + i);
  return html`<section class="card" aria-label="Microscope">
    <h2>What four bits make of this microbatch</h2>
    <p>
      Of each linear layer, what comes in from behind (dY) and the two gradients
      that it gives: with the recipe and the noise of the run against exact
      ones. A slope of 1: nothing shrinks.
    </p>
    <div class="wide" tabindex="0" role="region" aria-label="Layers">
      <table id="layers">
        <thead>
          <tr>
            ${[
              "Layer",
              "Zeroed",
              "to nearest",
              "Clipped",
              "to nearest",
              "cos dX",
              "slope dX",
              "cos dW",
              "slope dW",
            ].map((name) => html`<th scope="col">${name}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${layers.value.map(
            (each) =>
              html`<tr key=${each.name}>
                <th scope="row">${each.name}</th>
                <td>${share(each.zeroed)}</td>
                <td>${share(each.zeroedNearest)}</td>
                <td>${share(each.clipped)}</td>
                <td>${share(each.clippedNearest)}</td>
                <td>${figure(each.dX.cosine)}</td>
                <td>${figure(each.dX.slope)}</td>
                <td>${figure(each.dW.cosine)}</td>
                <td>${figure(each.dW.slope)}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <div class="charts">
      ${layers.value.map(({ name, scales }) => {
        const counts = new Map(
          scales.map(({ exponent, count }) => [exponent, count]),
        );
        const common = scales.toSorted((a, b) => b.count - a.count)[0]!;
        const zeros = counts.get(ZEROS);
        return html`<${BarChart}
          key=${name}
          title=${`Scales of dY, ${name}`}
          text=${`powers of two; most blocks have 2^${common.exponent}${zeros ? `, ${counted(zeros, "has", "have")} nothing but zeros` : ""}`}
          sets=${[axis.map((exponent) => counts.get(exponent) ?? 0)]}
          labels=${[String(least), String(most)]}
        />`;
      })}
    </div>
  </section>`;
}

render(
  html`<${PageFrame}><${Door}>${() => html`<div class="column"><${Replay} /></div>`}</${Door}></${PageFrame}>`,
  document.getElementById("page")!,
);
effect(() => {
  if (isLetIn.value)
    void client()
      .runs()
      .then((all) => (runs.value = all))
      // Names can be typed all the same.
      .catch(() => undefined);
});
await enter();
