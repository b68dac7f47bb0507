/** The latest recomputed steps, each with its verdict. */
import { html } from "htm/preact";
import { steps, agreement } from "./replayed.ts";

export function StepsTable() {
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
            const verdict = agreement(each);
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
