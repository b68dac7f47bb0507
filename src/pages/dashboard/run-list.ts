/** All runs: one to look at, others to lay over it. */
import { html } from "htm/preact";
import { COLORS } from "../charts/line-chart.ts";
import { ago } from "../shell/format.ts";
import { chosen, overlay, show } from "./choice.ts";
import { runs, trouble } from "./runs.ts";

export function RunList() {
  const { value: listed } = runs;
  const nowMs = Date.now();
  return html`<section class="card" aria-label="Runs">
    <h2>Runs</h2>
    ${trouble.value && html`<p role="alert" class="alarm">${trouble.value}</p>`}
    ${
      listed?.length === 0 &&
      html`<p class="quiet">
        None yet. Start one here, or by <code>npm run train</code>.
      </p>`
    }
    <ul class="runs">
      ${listed?.map(({ run, dataset, ended, createdMs }) => {
        const place = chosen.value.indexOf(run);
        return html`<li
          key=${run}
          class=${place >= 0 ? `line-${place % COLORS}` : ""}
        >
          <input
            type="checkbox"
            aria-label=${`Lay ${run} over the others`}
            checked=${place >= 0}
            onChange=${(event: Event) =>
              overlay(run, (event.currentTarget as HTMLInputElement).checked)}
          />
          <div>
            <button
              type="button"
              class="link"
              aria-current=${place === 0 ? "true" : null}
              onClick=${() => show(run)}
            >
              ${run}</button
            >${" "}
            <span class="quiet"
              >${dataset}, ${ended ? "ended" : "under way"},${" "}
              ${ago(createdMs, nowMs)}</span
            >
          </div>
        </li>`;
      })}
    </ul>
  </section>`;
}
