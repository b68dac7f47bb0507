/** The curves of the selected runs, with their controls. */
import { useComputed } from "@preact/signals";
import { html } from "htm/preact";
import {
  AXES,
  type AxisName,
  type DrawnFigure,
  drawnFigure,
  type FigureName,
  FIGURES,
  placesOf,
} from "../charts/figures.ts";
import { COLORS, LineChart } from "../charts/line-chart.ts";
import type { Line } from "../charts/plot-data.ts";
import { outliers, smoothed } from "../charts/smooth.ts";
import { Button } from "../shell/button.ts";
import { WholeInput } from "../shell/inputs.ts";
import { isNarrow } from "../shell/narrow.ts";
import { axis, halfLife, isLog, isPerByte, LOOKS, view } from "./choice.ts";
import type { FollowedRun } from "./followed-run.ts";
import { runLabel } from "./run-label.ts";
import { followed } from "./runs.ts";

const NAMES = Object.keys(FIGURES) as FigureName[];
/** Too few values for a trend: not smoothed. */
const SPARSE: readonly FigureName[] = ["valLoss", "learningRate"];

export function ChartsPanel() {
  const lines = useComputed(() =>
    NAMES.map((name) =>
      followed.value.map((run, place) =>
        lineOf(run, name, place, axis.value, halfLife.value),
      ),
    ),
  );
  return html`
    <section aria-label="Curves">
      ${
        isNarrow.value
          ? html`<details class="card looks">
              <summary>Axis, units, smoothing</summary>
              <${Controls} />
            </details>`
          : html`<${Controls} />`
      }
      <div class="charts curves">
        ${NAMES.map(
          (name, i) =>
            html`<${LineChart}
              key=${name}
              title=${FIGURES[name].title}
              unit=${drawnFigure(name, isPerByte.value).unit}
              axis=${AXES[axis.value].name}
              isWhole=${axis.value !== "time"}
              lines=${lines.value[i]}
              isLog=${isLog.value}
              view=${view}
            />`,
        )}
      </div>
      <${Values} />
    </section>
  `;
}

function lineOf(
  { run, metrics }: FollowedRun,
  name: FigureName,
  place: number,
  over: AxisName,
  half: number,
): Line {
  const all = metrics.value;
  const values = drawnFigure(name, isPerByte.value).of(all);
  const isSparse = SPARSE.includes(name);
  return {
    name: runLabel(run),
    color: place % COLORS,
    isDashed: Math.floor(place / COLORS) % 2 === 1,
    x: placesOf(all, over),
    values,
    trend: smoothed(values, isSparse ? 0 : half),
    isOutlier: isSparse ? values.map(() => false) : outliers(values),
  };
}

function Controls() {
  return html`<form
    class="row controls"
    onSubmit=${(e: Event) => e.preventDefault()}
  >
    <label>
      Over
      <select
        value=${axis.value}
        onChange=${(event: Event) => {
          axis.value = (event.currentTarget as HTMLSelectElement)
            .value as AxisName;
          view.value = undefined;
        }}
      >
        ${(Object.keys(AXES) as AxisName[]).map(
          (name) => html`<option value=${name}>${AXES[name].name}</option>`,
        )}
      </select>
    </label>
    <label>
      Losses by the
      <select
        value=${isPerByte.value ? "byte" : "token"}
        onChange=${(event: Event) =>
          (isPerByte.value =
            (event.currentTarget as HTMLSelectElement).value === "byte")}
      >
        <option>token</option>
        <option>byte</option>
      </select>
    </label>
    <${WholeInput}
      option=${LOOKS.smooth}
      value=${halfLife.value}
      heard=${(value: number) => (halfLife.value = value)}
    />
    <label>
      <input
        type="checkbox"
        checked=${isLog.value}
        onChange=${(event: Event) =>
          (isLog.value = (event.currentTarget as HTMLInputElement).checked)}
      />
      Log scale
    </label>
    <${Button}
      isIdle=${view.value === undefined}
      onClick=${() => (view.value = undefined)}
    >
      Show all
    </${Button}>
    <span class="quiet">Drag over a chart to zoom.</span>
  </form>`;
}

/** The first run's latest metrics as a table, for readers who cannot see the charts. */
function Values() {
  const [first] = followed.value;
  const all = first?.metrics.value ?? [];
  const latest = all.slice(-12).reverse();
  if (!first || latest.length === 0) return null;
  const [train, held] = (["trainLoss", "valLoss"] as const).map((name) =>
    drawnFigure(name, isPerByte.value),
  ) as [DrawnFigure, DrawnFigure];
  return html`<details>
    <summary>
      The latest values of <bdi>${runLabel(first.run)}</bdi>, of ${all.length}
    </summary>
    <div class="wide" tabindex="0" role="region" aria-label="Latest values">
      <table>
        <thead>
          <tr>
            ${[
              "Step",
              `Training loss, ${train.unit}`,
              `Validation loss, ${held.unit}`,
              "Gradient norm",
              "Learning rate",
              "Tokens",
            ].map((name) => html`<th scope="col">${name}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${latest.map(
            (each) =>
              html`<tr key=${each.step}>
                <th scope="row">${each.step}</th>
                ${[
                  train.of([each])[0],
                  held.of([each])[0],
                  each.gradNorm,
                  each.learningRate,
                  each.tokens,
                ].map((value) => html`<td>${value ?? "–"}</td>`)}
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </details>`;
}
