/** Counts as bars, one or two sets over each other; a reader of screens gets the sentence. */
import { html } from "htm/preact";

type Bars = {
  title: string;
  /** Told in words. */
  text: string;
  /** One or two, of equal lengths: the second as a line over the first. */
  sets: readonly (readonly number[])[];
  /** From under the first bar to under the last; or under each. */
  labels: readonly string[];
};

const WIDTH = 360;
const HEIGHT = 140;
const FOOT = 16;

export function BarChart({ title, text, sets, labels }: Bars) {
  const most = Math.max(1, ...sets.flat());
  const [bars = [], line] = sets;
  const step = WIDTH / Math.max(1, bars.length);
  const height = (count: number) => ((HEIGHT - FOOT) * count) / most;
  const points = line
    ?.flatMap((count, i) => {
      const y = HEIGHT - FOOT - height(count);
      return [`${i * step},${y}`, `${(i + 1) * step},${y}`];
    })
    .join(" ");
  const place = (i: number) =>
    labels.length === bars.length
      ? (i + 0.5) * step
      : (i * WIDTH) / (labels.length - 1);
  const anchor = (i: number) => {
    if (labels.length === bars.length) return "middle";
    return i === 0 ? "start" : i === labels.length - 1 ? "end" : "middle";
  };
  return html`<figure class="chart">
    <figcaption><b>${title}</b></figcaption>
    <svg
      viewBox=${`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label=${`${title}: ${text}`}
    >
      ${bars.map(
        (count, i) =>
          html`<rect
            key=${i}
            class="bar"
            x=${i * step}
            y=${HEIGHT - FOOT - height(count)}
            width=${Math.max(0.5, step - 1)}
            height=${height(count)}
          />`,
      )}
      ${points && html`<polyline class="over" points=${points} />`}
      ${labels.map(
        (label, i) =>
          html`<text
            key=${i}
            x=${place(i)}
            y=${HEIGHT - 3}
            text-anchor=${anchor(i)}
          >
            ${label}
          </text>`,
      )}
    </svg>
    <p class="quiet">${text}</p>
  </figure>`;
}
