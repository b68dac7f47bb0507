/** `/`: runs in progress and their curves. */
import { effect } from "@preact/signals";
import { html } from "htm/preact";
import { render } from "preact";
import { lookTroubles } from "./dashboard/choice.ts";
import { ChartsPanel } from "./dashboard/charts-panel.ts";
import { NewRun } from "./dashboard/new-run.ts";
import { RunDetails } from "./dashboard/run-details.ts";
import { RunList } from "./dashboard/run-list.ts";
import { runLabel } from "./dashboard/run-label.ts";
import { followed, watchRuns } from "./dashboard/runs.ts";
import { enter } from "./shell/access.ts";
import { Door, PageFrame } from "./shell/frame.ts";
import { LinkTroubles } from "./shell/link.ts";
import { isNarrow } from "./shell/narrow.ts";

function Dashboard() {
  const [first] = followed.value;
  const hasCurves = followed.value.some(
    ({ isGone, metrics }) => !isGone.value || metrics.value.length > 0,
  );
  const side = html`<div key="side" class="side">
    <${RunList} />
    <${NewRun} />
    ${first && html`<${RunDetails} key=${first.run} followed=${first} />`}
  </div>`;
  const shown = hasCurves
    ? html`<${ChartsPanel} key="curves" />`
    : html`<${Welcome} key="welcome" />`;
  // In a single column, curves come before the run's details.
  return html`
    <h1 class="visually-hidden">Runs of this edge</h1>
    <${LinkTroubles} troubles=${lookTroubles.value} />
    <div class="sides">
      ${isNarrow.value && hasCurves ? [shown, side] : [side, shown]}
    </div>
  `;
}

/** Shown while there are no runs. */
function Welcome() {
  return html`<section class="card" aria-label="What there is">
    <h2>4-bit gradients, and 4-bit tensors</h2>
    <p>
      <b>Start a run</b> trains a small GPT-2 or Llama on a text of yours, with
      backward passes in MXFP4; its curves come here as it goes.
    </p>
    <p>
      <a href="/play">Playground</a>: what MXFP4 makes of a tensor, of your own
      file too, which never leaves the page.
    </p>
    <p>
      <a href="/join">Join</a>: this browser trains in a run.${" "}
      <a href="/replay">Replay</a>: it computes a run again, and verifies it
      step by step.
    </p>
    <p><a href="/docs">API</a>: all of it over HTTP.</p>
  </section>`;
}

render(
  html`<${PageFrame}><${Door}>${() => html`<${Dashboard} />`}</${Door}></${PageFrame}>`,
  document.getElementById("page")!,
);
watchRuns();
effect(() => {
  const [first] = followed.value;
  const { state, step } = first?.status.value ?? {};
  const told = state === undefined ? "" : `, ${state} at step ${step}`;
  document.title = first
    ? `${runLabel(first.run)}${told}: mxfp4-edge`
    : "mxfp4-edge";
});
await enter();
