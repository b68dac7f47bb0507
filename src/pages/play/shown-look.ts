/** The Worker's results for a tensor, as charts and tables. */
import { html } from "htm/preact";
import { SCHEME_PRESETS } from "../../api/presets.ts";
import type { SchemeFigures } from "../../api/tensors.ts";
import { counted, figure, share } from "../shell/format.ts";
import { BarChart } from "../charts/bars.ts";
import { scaleRange, ScalesChart } from "../charts/scales-chart.ts";
import type { Look } from "./look.ts";

export function ShownLook(look: Look) {
  return html`
    <${Spread} ...${look} />
    <${Figures} ...${look} />
    <${Walks} ...${look} />
  `;
}

function Figures({ figures, rule }: Look) {
  const { schemes, recommended, kurtosis, elements } = figures;
  const most = Math.max(...schemes.map(({ sqnrDb }) => sqnrDb ?? 0));
  return html`<section class="card" aria-label="Error figures">
    <h2>What each scheme loses</h2>
    <p>
      ${elements.toLocaleString("en")} elements, kurtosis${" "}
      ${figure(kurtosis)}${" "}
      <span class="quiet">(3 of normal values)</span>. Best:${" "}
      <b>${named(recommended ?? "none")}</b>,${" "}
      <span class="quiet">${rule}.</span>
    </p>
    <div
      class="wide"
      tabindex="0"
      role="region"
      aria-label="Figures of all schemes"
    >
      <table id="figures">
        <thead>
          <tr>
            ${[
              "Scheme",
              "SQNR, dB",
              "MSE",
              "Cosine",
              "Largest error",
              "Clipped",
              "Zeroed",
            ].map((name) => html`<th scope="col">${name}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${schemes.map(
            (each) =>
              html`<${Row}
                key=${each.scheme}
                isBest=${each.scheme === recommended}
                most=${most}
                ...${each}
              />`,
          )}
        </tbody>
      </table>
    </div>
  </section>`;
}

/** `most`: the highest SQNR. */
function Row({
  isBest,
  most,
  scheme,
  sqnrDb,
  mse,
  cosine,
  maxError,
  clipped,
  zeroed,
}: SchemeFigures & { isBest: boolean; most: number }) {
  return html`<tr data-scheme=${scheme} class=${isBest ? "best" : ""}>
    <th scope="row">${named(scheme)}</th>
    <td data-exact=${sqnrDb}>
      <meter max=${most} value=${sqnrDb} aria-label="SQNR"></meter>
      ${" "}${figure(sqnrDb)}
    </td>
    <td data-exact=${mse}>${figure(mse)}</td>
    <td data-exact=${cosine}>${figure(cosine, 6)}</td>
    <td data-exact=${maxError}>${figure(maxError)}</td>
    <td data-exact=${clipped}>${share(clipped)}</td>
    <td data-exact=${zeroed}>${share(zeroed)}</td>
  </tr>`;
}

function named(scheme: string): string {
  return Object.hasOwn(SCHEME_PRESETS, scheme) || scheme === "none"
    ? scheme
    : "yours";
}

function Spread({ before, after, grid, scales, elements }: Look) {
  const bounds = [before.from, 0, before.to].map((x) => figure(x, 3));
  const zero = grid.filter(({ value }) => value === 0);
  const zeros = zero.reduce((sum, { count }) => sum + count, 0);
  return html`<section class="charts" aria-label="Distributions">
    <${BarChart}
      title="Values before (bars) and after (line)"
      text=${`${elements.toLocaleString("en")} of the tensor's front, between ${bounds[0]} and ${bounds[2]}`}
      sets=${[before.counts, after.counts]}
      labels=${bounds}
      axes=${["value", "elements"]}
    />
    ${
      grid.length > 0 &&
      html`<${BarChart}
        title="The E2M1 grid: how often each value comes"
        text=${`${share(zeros / Math.max(1, elements))} are zero`}
        sets=${[grid.map(({ count }) => count)]}
        labels=${grid.map(({ value }) => String(value))}
        axes=${["value of the grid", "elements"]}
      />`
    }
    <${ScalesChart}
      title="Scales of blocks"
      scales=${scales}
      range=${scaleRange(scales)}
    />
  </section>`;
}

function Walks({ walks, walked }: Look) {
  const [first] = walks;
  const { block, blocks, row, from, to } = walked;
  return html`<section class="card" aria-label="Step by step">
    <h2>The paper's algorithms, step by step</h2>
    <p>
      Each value is divided by its block's scale, in Algorithm 2 after × 3/4,
      and rounded to one of the grid. Algorithm 3 first rotates segments of 64
      by random signs and a Hadamard matrix, which spreads outliers; its last
      column is rotated back.
    </p>
    <p id="walked">
      Block ${block}, of ${counted(blocks, "block")} from 0 on: row ${row},
      columns ${from} to ${to}.
    </p>
    <div
      class="wide tall"
      tabindex="0"
      role="region"
      aria-label="Values step by step"
    >
      <table id="walk">
        <thead>
          <tr>
            <th scope="col" rowspan="2">x</th>
            ${walks.map(
              ({ name, scale }, i) =>
                html`<th
                  scope="colgroup"
                  class="first"
                  colspan=${i === 2 ? 4 : 3}
                >
                  ${name}, first scale ${figure(scale)}
                </th>`,
            )}
          </tr>
          <tr>
            ${walks.map((_, i) =>
              [
                ...(i === 2 ? ["rotated"] : []),
                "÷ scale",
                "on the grid",
                "decoded",
              ].map(
                (name, column) =>
                  html`<th scope="col" class=${column === 0 ? "first" : ""}>
                    ${name}
                  </th>`,
              ),
            )}
          </tr>
        </thead>
        <tbody>
          ${first?.steps.map(
            ({ x }, row) =>
              html`<tr key=${row}>
                <th scope="row">${figure(x)}</th>
                ${walks.map(({ steps }, i) => {
                  const { rotated, scaled, element, decoded } = steps[row]!;
                  return html`
                    ${i === 2 && html`<td class="first">${figure(rotated)}</td>`}
                    <td class=${i === 2 ? "" : "first"}>${figure(scaled)}</td>
                    <td>${element}</td>
                    <td>${figure(decoded)}</td>
                  `;
                })}
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </section>`;
}
