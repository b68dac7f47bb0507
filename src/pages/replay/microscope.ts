/** The effect of four bits on the gradients of one microbatch, per layer. */
import { html } from "htm/preact";
import { scaleRange, ScalesChart } from "../charts/scales-chart.ts";
import { figure, share } from "../shell/format.ts";
import { layers } from "./replayed.ts";

/** All layers' charts share the range of scales. */
export function Microscope() {
  const range = scaleRange(layers.value.flatMap(({ scales }) => scales));
  return html`<section class="card" aria-label="Microscope">
    <h2>What four bits make of this microbatch</h2>
    <p>
      Of each linear layer, what comes in from behind (dY) and the two gradients
      that it gives: with the recipe and the noise of the run against exact
      ones. A slope of 1: nothing shrinks.
    </p>
    <div class="wide" tabindex="0" role="region" aria-label="Layers">
      <table id="layers">
        <thead>
          <tr>
            ${[
              "Layer",
              "Zeroed",
              "to nearest",
              "Clipped",
              "to nearest",
              "cos dX",
              "slope dX",
              "cos dW",
              "slope dW",
            ].map((name) => html`<th scope="col">${name}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${layers.value.map(
            (each) =>
              html`<tr key=${each.name}>
                <th scope="row">${each.name}</th>
                <td>${share(each.zeroed)}</td>
                <td>${share(each.zeroedNearest)}</td>
                <td>${share(each.clipped)}</td>
                <td>${share(each.clippedNearest)}</td>
                <td>${figure(each.dX.cosine)}</td>
                <td>${figure(each.dX.slope)}</td>
                <td>${figure(each.dW.cosine)}</td>
                <td>${figure(each.dW.slope)}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <div class="charts">
      ${layers.value.map(
        ({ name, scales }) =>
          html`<${ScalesChart}
            key=${name}
            title=${`Scales of dY, ${name}`}
            scales=${scales}
            range=${range}
          />`,
      )}
    </div>
  </section>`;
}
