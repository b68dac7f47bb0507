/**
 * `/replay`: recomputes a run in this browser, from its config or from a kept state. Each step shows whether losses and
 * gradient norm equal the recorded ones bit for bit; for one microbatch, the effect of four-bit gradients.
 */
import { effect, signal } from "@preact/signals";
import { html } from "htm/preact";
import { render } from "preact";
import { choice } from "../api/option-kinds.ts";
import type { RunSummary } from "../api/run-status.ts";
import { Microscope } from "./replay/microscope.ts";
import { begin, layers, said, steps, stop, worker } from "./replay/replayed.ts";
import { StepsTable } from "./replay/steps-table.ts";
import { client, enter, isLetIn } from "./shell/access.ts";
import { Button } from "./shell/button.ts";
import { trim } from "./shell/inputs.ts";
import { LinkReader, LinkTroubles, wholeOption } from "./shell/link.ts";
import { Door, PageFrame } from "./shell/frame.ts";

const link = new LinkReader();
/** A run has a million steps at most. */
const MOST = 999_999;
/** By their names in the address. */
const FROM = choice(["start", "state"], "What is computed from", "start");
const STEP = wholeOption("Up to step", 0, MOST, 5);
const MICROBATCH = wholeOption("Its microbatch", 0, MOST, 0);
const asked = {
  run: link.text("run")?.trim() ?? "",
  from: link.value("from", FROM) ?? FROM.default,
  step: link.value("step", STEP) ?? STEP.default,
  microbatch: link.value("microbatch", MICROBATCH) ?? MICROBATCH.default,
};
const runs = signal<readonly RunSummary[]>([]);

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
            defaultValue=${asked.run}
            onChange=${trim}
          />
        </label>
        <datalist id="runs">
          ${runs.value.map(
            ({ run, name }) =>
              html`<option value=${run} label=${name ?? run}></option>`,
          )}
        </datalist>
        <label>
          From${" "}
          <select name="from">
            <option value="start">the first step</option>
            <option value="state" selected=${asked.from === "state"}>
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
            defaultValue=${asked.step}
          />
        </label>
        <label>
          Its microbatch${" "}
          <input
            name="microbatch"
            type="number"
            min="0"
            required
            defaultValue=${asked.microbatch}
          />
        </label>
        <${Button} class="main" isIdle=${worker.value !== undefined}>
          Replay
        </${Button}>
        <${Button}
          isIdle=${worker.value === undefined}
          onClick=${() => stop("stopped")}
        >
          Stop
        </${Button}>
      </form>
      <${LinkTroubles} troubles=${link.troubles} />
      <p role="status" id="said">${said.value}</p>
      ${steps.value.length > 0 && html`<${StepsTable} />`}
    </section>
    ${layers.value.length > 0 && html`<${Microscope} />`}
  `;
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
      // The list is optional: ids can be typed.
      .catch(() => undefined);
});
await enter();
