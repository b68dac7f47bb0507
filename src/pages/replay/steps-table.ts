/** The latest recomputed steps, each with its verdict; for byte pairs, with losses per byte of text too. */
import { html } from "htm/preact";
import type { ComputedStep } from "../training/replay-messages.ts";
import { steps, agreement } from "./replayed.ts";

type Column = [name: string, of: (step: ComputedStep) => number | null];

const TRAINING: Column = ["Training loss, nats per token", (s) => s.trainLoss];
const NORM: Column = ["Gradient norm", (s) => s.gradNorm];
const HELD: Column = ["Validation loss, nats per token", (s) => s.valLoss];
const COLUMNS = [TRAINING, NORM, HELD];
const COLUMNS_OF_PAIRS: readonly Column[] = [
  TRAINING,
  ["nats per byte", (s) => s.trainNatsPerByte],
  NORM,
  HELD,
  ["nats per byte", (s) => s.valNatsPerByte],
];

export function StepsTable() {
  const isOfPairs = steps.value.some(
    (each) =>
      each.trainLoss !== each.trainNatsPerByte ||
      each.valLoss !== each.valNatsPerByte,
  );
  const columns = isOfPairs ? COLUMNS_OF_PAIRS : COLUMNS;
  return html`<div class="wide" tabindex="0" role="region" aria-label="Steps">
    <table id="steps">
      <thead>
        <tr>
          <th scope="col">Step</th>
          ${columns.map(([name]) => html`<th scope="col">${name}</th>`)}
          <td></td>
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
              ${columns.map(([, of]) => html`<td>${of(each) ?? "–"}</td>`)}
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
