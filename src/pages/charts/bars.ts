/** A bar chart of one or two sets of counts; screen readers get the text. */
import { html } from "htm/preact";

type Bars = {
  title: string;
  /** Description of the data. */
  text: string;
  /** One or two sets of equal length: the second is drawn as a line over the first. */
  sets: readonly (readonly number[])[];
  /** If as many as bars, one under each, as far as there is room; else spread from the first bar to the last. */
  labels: readonly string[];
  /** Names of the two axes. */
  axes: readonly [string, string];
};

const WIDTH = 360;
const HEIGHT = 172;
/** For the name of the counts, and the highest count. */
const TOP = 18;
/** For labels, and their axis' name below. */
const FOOT = 34;
const FLOOR = HEIGHT - FOOT;
const MOST_LABELS = 16;

export function BarChart({ title, text, sets, labels, axes }: Bars) {
  const most = Math.max(1, ...sets.flat());
  const [bars = [], line] = sets;
  const step = WIDTH / Math.max(1, bars.length);
  const height = (count: number) => ((FLOOR - TOP) * count) / most;
  const points = line
    ?.flatMap((count, i) => {
      const y = FLOOR - height(count);
      return [`${i * step},${y}`, `${(i + 1) * step},${y}`];
    })
    .join(" ");
  return html`<figure class="chart">
    <figcaption><b>${title}</b></figcaption>
    <svg
      viewBox=${`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label=${`${title}: ${text}`}
    >
      <text x="0" y="11">${axes[1]}: ${most.toLocaleString("en")} at most</text>
      <path class="rule" d=${`M0 ${TOP}H${WIDTH}M0 ${FLOOR}H${WIDTH}`} />
      ${bars.map(
        (count, i) =>
          html`<rect
            key=${i}
            class="bar"
            x=${i * step}
            y=${FLOOR - height(count)}
            width=${Math.max(0.5, step - 1)}
            height=${height(count)}
          />`,
      )}
      ${points && html`<polyline class="over" points=${points} />`}
      ${placed(labels, bars.length).map(
        ({ label, x, anchor }) =>
          html`<text key=${x} x=${x} y=${FLOOR + 13} text-anchor=${anchor}>
            ${label}
          </text>`,
      )}
      <text x=${WIDTH / 2} y=${HEIGHT - 4} text-anchor="middle">
        ${axes[0]}
      </text>
    </svg>
    <p class="quiet">${text}</p>
  </figure>`;
}

type Placed = { label: string; x: number; anchor: "start" | "middle" | "end" };

function placed(labels: readonly string[], bars: number): Placed[] {
  const last = labels.length - 1;
  if (labels.length !== bars)
    return labels.map((label, i) => ({
      label,
      x: (i * WIDTH) / last,
      anchor: i === 0 ? "start" : i === last ? "end" : "middle",
    }));
  const every = Math.ceil(labels.length / MOST_LABELS);
  return labels.flatMap((label, i) =>
    i % every === 0
      ? { label, x: ((i + 0.5) * WIDTH) / bars, anchor: "middle" }
      : [],
  );
}
