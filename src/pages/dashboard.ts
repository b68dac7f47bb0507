/** `/`: runs as they go. */
import { html } from "htm/preact";
import { render } from "preact";
import { ChartsPanel } from "./dashboard/charts-panel.ts";
import { NewRun } from "./dashboard/new-run.ts";
import { RunDetails } from "./dashboard/run-details.ts";
import { RunList } from "./dashboard/run-list.ts";
import { followed, watchRuns } from "./dashboard/runs.ts";
import { enter } from "./shell/access.ts";
import { Door, Frame } from "./shell/frame.ts";

function Dashboard() {
  const [first] = followed.value;
  return html`
    <h1 class="visually-hidden">Runs of this edge</h1>
    <div class="sides">
      <div class="side">
        <${RunList} />
        <${NewRun} />
        ${first && html`<${RunDetails} key=${first.run} followed=${first} />`}
      </div>
      ${first && html`<${ChartsPanel} />`}
    </div>
  `;
}

render(
  html`<${Frame}><${Door}>${() => html`<${Dashboard} />`}</${Door}></${Frame}>`,
  document.getElementById("page")!,
);
watchRuns();
await enter();
