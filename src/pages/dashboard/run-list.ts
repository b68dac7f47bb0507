/**
 * The list of runs: one is selected, others overlaid. If there are many, the latest, and those found by a part of their
 * name, id or text.
 */
import { useSignal } from "@preact/signals";
import { html } from "htm/preact";
import type { RunSummary } from "../../api/run-status.ts";
import { COLORS } from "../charts/line-chart.ts";
import { ago, counted } from "../shell/format.ts";
import { serverNowMs } from "../shell/server-clock.ts";
import { chosen, overlay, show } from "./choice.ts";
import { runLabel } from "./run-label.ts";
import { followed, runs, trouble } from "./runs.ts";

/** Number of runs shown first; "Show more" adds four times as many. */
const SOME = 12;

export function RunList() {
  const { value: listed } = runs;
  const most = useSignal(SOME);
  const sought = useSignal("");
  const found = (listed ?? []).filter(({ run, name, dataset }) =>
    folded(`${name ?? ""} ${run} ${dataset}`).includes(
      folded(sought.value.trim()),
    ),
  );
  const shown = found.filter(
    ({ run }, i) => i < most.value || chosen.value.includes(run),
  );
  const rest = found.length - shown.length;
  return html`<section class="card" aria-label="Runs">
    <h2>Runs</h2>
    ${trouble.value && html`<p role="alert" class="alarm">${trouble.value}</p>`}
    ${
      listed?.length === 0 &&
      html`<p class="quiet">
        None yet. Start one here with a text of yours, or one on Moby Dick by
        <code>npm run train -- --url ${location.origin}</code>.
      </p>`
    }
    ${!listed && !trouble.value && html`<p class="quiet">Asking…</p>`}
    ${
      (listed?.length ?? 0) > SOME &&
      html`<label>
        Find
        <input
          type="search"
          placeholder="a part of a name or text"
          value=${sought.value}
          onInput=${(event: Event) =>
            (sought.value = (event.currentTarget as HTMLInputElement).value)}
        />
      </label>`
    }
    <ul class="runs">
      ${shown.map((each) => html`<${Item} key=${each.run} ...${each} />`)}
    </ul>
    ${
      sought.value &&
      found.length === 0 &&
      html`<p class="quiet" role="status">No run has that in it.</p>`
    }
    ${
      rest > 0 &&
      html`<p class="row">
        <button type="button" onClick=${() => (most.value += 4 * SOME)}>
          Show more
        </button>
        <span class="quiet"
          >${counted(rest, "run is", "runs are")} not shown</span
        >
      </p>`
    }
  </section>`;
}

/** Ignores case and the encoding of accents. */
function folded(text: string): string {
  return text.normalize("NFKC").toLowerCase();
}

function Item({ run, name, dataset, ended, createdMs }: RunSummary) {
  const place = chosen.value.indexOf(run);
  const label = runLabel(run);
  // A followed run's state is newer than the list's.
  const looked = followed.value.find((each) => each.run === run);
  const recipe = looked?.status.value?.config.recipe;
  const told = [
    label === name && run,
    dataset,
    recipe,
    ended || looked?.hasEnded ? "ended" : "under way",
    ago(createdMs, serverNowMs()),
  ];
  return html`<li class=${place >= 0 ? `line-${place % COLORS}` : ""}>
    <input
      type="checkbox"
      aria-label=${`Lay ${label} over the others`}
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
        ${label}</button
      >${" "}
      <span class="quiet">${told.filter(Boolean).join(", ")}</span>
    </div>
  </li>`;
}
