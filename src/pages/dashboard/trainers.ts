/** The trainers of a run, and authors whose results are refused. */
import { html } from "htm/preact";
import type { AuthorState, RunStatus } from "../../api/run-status.ts";
import { ago } from "../shell/format.ts";
import { serverNowMs } from "../shell/server-clock.ts";
import { hostKind } from "./host-kind.ts";

type Excluded = ReadonlyMap<string, AuthorState>;

export function Trainers({
  status,
  excluded,
}: {
  status: RunStatus;
  excluded: Excluded;
}) {
  const nowMs = serverNowMs();
  return html`
    <h3>Trainers</h3>
    ${
      status.trainers.length === 0
        ? html`<p class="quiet">None has come yet.</p>`
        : html`<div
            class="wide tall"
            tabindex="0"
            role="region"
            aria-label="Trainers"
          >
            <table id="trainers">
              <thead>
                <tr>
                  <th scope="col">Name</th>
                  <th scope="col">Host</th>
                  <th scope="col">Microbatches</th>
                  <th scope="col">Heard of</th>
                </tr>
              </thead>
              <tbody>
                ${status.trainers.map(
                  ({ name, author, host, completions, lastSeenMs }) =>
                    html`<tr key=${`${author} ${name}`}>
                      <th scope="row">
                        ${name}
                        ${excluded.has(author) && html` <b class="alarm">${excluded.get(author)}</b>`}
                      </th>
                      <td>${hostKind(host)}</td>
                      <td>${completions}</td>
                      <td>${ago(lastSeenMs, nowMs)}</td>
                    </tr>`,
                )}
              </tbody>
            </table>
          </div>`
    }
    ${excluded.size > 0 && html`<${Explained} run=${status.run} excluded=${excluded} />`}
  `;
}

const WHY: Record<Exclude<AuthorState, "active">, string> = {
  quarantined:
    "told results that differ from those of others, or among themselves; it is refused, and the run goes on without its results",
  revoked: "was put out by the run's owner, and is refused",
};

function Explained({ run, excluded }: { run: string; excluded: Excluded }) {
  return html`<ul id="excluded">
    ${[...excluded].map(
      ([author, state]) =>
        html`<li key=${author}>
          <b>${author}</b> is ${state}: it ${WHY[state as keyof typeof WHY]}.
          ${" "}<code>mxfp4-edge reinstate ${run} ${author}</code> takes it
          back.
        </li>`,
    )}
  </ul>`;
}
