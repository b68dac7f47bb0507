/** How the trainers' time of the last steps was spent, and the bytes transferred. */
import { html } from "htm/preact";
import type { StepPhases } from "../../api/lease.ts";
import type { StepMetrics } from "../../api/run-metrics.ts";
import { byteSize } from "../../api/byte-size.ts";
import { figure, share } from "../shell/format.ts";

/** Number of steps that are averaged. */
const STEPS = 32;

const PHASES = [
  ["computeMs", "Computing"],
  ["leaseMs", "Waiting for a lease"],
  ["pullMs", "Pulling parameters"],
  ["pushMs", "Pushing gradients"],
] as const satisfies readonly (readonly [keyof StepPhases, string])[];

export function PhasesPanel({ metrics }: { metrics: readonly StepMetrics[] }) {
  const told = metrics.flatMap(({ phases }) => phases ?? []).slice(-STEPS);
  const mean = (key: keyof StepPhases): number => {
    const values = told.flatMap((each) => each[key] ?? []);
    return values.reduce((sum, each) => sum + each, 0) / values.length;
  };
  const all = PHASES.reduce((sum, [key]) => sum + mean(key), 0);
  return html`
    <h3>A step</h3>
    ${
      told.length === 0
        ? html`<p class="quiet">
            No trainer has told yet where its time goes.
          </p>`
        : html`<div class="wide" tabindex="0" role="region" aria-label="Phases">
              <table id="phases">
                <caption>
                  ${told.length === 1 ? "Of the last step" : `Means of the last ${told.length} steps`},
                  summed over trainers
                </caption>
                <tbody>
                  ${PHASES.map(
                    ([key, name]) =>
                      html`<tr key=${key}>
                        <th scope="row">${name}</th>
                        <td>${figure(mean(key), 3)} ms</td>
                        <td>${share(mean(key) / all)}</td>
                        <td>
                          <meter
                            max=${all}
                            value=${mean(key)}
                            aria-label=${`${name}: its share`}
                          ></meter>
                        </td>
                      </tr>`,
                  )}
                </tbody>
              </table>
            </div>
            <p class="quiet">
              Then ${figure(mean("commitMs"), 3)} ms to commit;${" "}
              ${byteSize(Math.round(mean("pulledBytes")))} pulled,${" "}
              ${byteSize(Math.round(mean("pushedBytes")))} pushed.
            </p>`
    }
  `;
}
