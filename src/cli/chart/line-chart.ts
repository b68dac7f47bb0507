/**
 * A line chart as SVG. Names are at the ends of their lines, so that colours need not be told apart; colours follow the
 * page's light or dark scheme.
 */

type Line = {
  name: string;
  points: readonly (readonly [x: number, y: number])[];
  /** Half the height of a band around the line, at each point. */
  spread?: readonly number[];
  dashed?: boolean;
};

export type Chart = {
  title: string;
  x: string;
  y: string;
  lines: readonly Line[];
  /** Range of the y axis; default: all values. */
  yRange?: readonly [number, number];
  logX?: boolean;
  logY?: boolean;
};

const WIDTH = 860;
const HEIGHT = 440;
const PLOT = { left: 70, right: 640, top: 44, bottom: 384 };
const NAME_HEIGHT = 15;
/** Colours for light and dark pages, distinct in hue and lightness. */
const COLOURS = [
  ["#0b62a8", "#6cb6ff"],
  ["#b3261e", "#ff8a80"],
  ["#2e7d32", "#7fd88a"],
  ["#8a4b00", "#ffb86b"],
  ["#6a1b9a", "#d4a5ff"],
  ["#00696f", "#5fd7dd"],
  ["#ad1457", "#ff9ecb"],
  ["#4e5d00", "#cfe26a"],
] as const;

type Scale = { at: (value: number) => number; ticks: readonly number[] };

/** Omits points that are not finite, or not positive on a logarithmic axis, and lines without points. */
export function lineChart(chart: Chart): string {
  const lines = chart.lines.flatMap((each) => drawable(each, chart));
  const points = lines.flatMap(({ points: each }) => each);
  const xs = points.map(([x]) => x);
  const ys = chart.yRange ?? points.map(([, y]) => y);
  const x = scale(xs, PLOT.left, PLOT.right, chart.logX, false);
  const y = scale(ys, PLOT.bottom, PLOT.top, chart.logY, !chart.yRange);
  const names = spreadOut(
    lines.map(({ points: each }) => clamp(y.at(each.at(-1)![1]))),
  );
  const parts = [
    text(PLOT.left, 24, chart.title, "title"),
    ...x.ticks.flatMap((tick) => [
      line(x.at(tick), PLOT.top, x.at(tick), PLOT.bottom, "grid"),
      text(x.at(tick), PLOT.bottom + 18, label(tick), "tick middle"),
    ]),
    ...y.ticks.flatMap((tick) => [
      line(PLOT.left, y.at(tick), PLOT.right, y.at(tick), "grid"),
      text(PLOT.left - 8, y.at(tick) + 4, label(tick), "tick end"),
    ]),
    text((PLOT.left + PLOT.right) / 2, HEIGHT - 14, chart.x, "axis middle"),
    `<text transform="translate(16 ${(PLOT.top + PLOT.bottom) / 2}) rotate(-90)" class="axis middle">${escaped(chart.y)}</text>`,
    `<g clip-path="url(#plot)">`,
    ...lines.map((each, index) => drawn(each, index, x, y)),
    "</g>",
    ...lines.map(({ name, points: each }, index) => {
      const [last, height] = each.at(-1)!;
      const end = clamp(y.at(height));
      const from = x.at(last);
      const colour = `l${index % COLOURS.length}`;
      return (
        line(from + 3, end, PLOT.right + 14, names[index]!, `${colour} lead`) +
        text(PLOT.right + 18, names[index]! + 4, name, `name t${colour}`)
      );
    }),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img">
<title>${escaped(chart.title)}</title>
<style>${style()}</style>
<clipPath id="plot"><rect x="${PLOT.left}" y="${PLOT.top}" width="${PLOT.right - PLOT.left}" height="${PLOT.bottom - PLOT.top}"/></clipPath>
${parts.join("\n")}
</svg>
`;
}

function drawable(each: Line, { logX, logY }: Chart): Line[] {
  const isPlace = (value: number, log = false) =>
    Number.isFinite(value) && !(log && value <= 0);
  const kept = each.points
    .map(([x, y], i) => ({ x, y, spread: each.spread?.[i] }))
    .filter(({ x, y }) => isPlace(x, logX) && isPlace(y, logY));
  if (kept.length === 0) return [];
  const points = kept.map(({ x, y }) => [x, y] as const);
  const spread = each.spread && { spread: kept.map((at) => at.spread!) };
  return [{ ...each, points, ...spread }];
}

function style(): string {
  const theme = (which: 0 | 1, ink: string, grid: string, page: string) =>
    `svg{background:${page}}text{fill:${ink}}.grid{stroke:${grid}}${COLOURS.map(
      (pair, i) =>
        `.l${i}{stroke:${pair[which]}}.b${i}{fill:${pair[which]}}.tl${i}{fill:${pair[which]}}`,
    ).join("")}`;
  return `text{font:12px system-ui,sans-serif}.title{font-size:15px;font-weight:600}.middle{text-anchor:middle}.end{text-anchor:end}path{fill:none;stroke-width:1.8}.lead{stroke-width:.7}.band{fill-opacity:.15}.dashed{stroke-dasharray:5 4}${theme(0, "#1f2328", "#d8dee4", "#ffffff")}@media(prefers-color-scheme:dark){${theme(1, "#e6edf3", "#30363d", "#0d1117")}}`;
}

function drawn(each: Line, index: number, x: Scale, y: Scale): string {
  const colour = index % COLOURS.length;
  const dashed = each.dashed || index >= COLOURS.length ? " dashed" : "";
  const at = (px: number, py: number) =>
    `${x.at(px).toFixed(1)} ${y.at(py).toFixed(1)}`;
  const path = each.points.map(([px, py]) => at(px, py)).join("L");
  const { spread } = each;
  const band = spread
    ? `<polygon class="band b${colour}" points="${[
        ...each.points.map(([px, py], i) => at(px, py + spread[i]!)),
        ...each.points.map(([px, py], i) => at(px, py - spread[i]!)).reverse(),
      ].join(" ")}"/>`
    : "";
  return `${band}<path class="l${colour}${dashed}" d="M${path}"/>`;
}

function scale(
  values: readonly number[],
  from: number,
  to: number,
  log = false,
  isPadded = false,
): Scale {
  const of = (value: number) => (log ? Math.log10(value) : value);
  const places = values.length === 0 ? [0] : values.map(of);
  let [low, high] = [Math.min(...places), Math.max(...places)];
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  if (isPadded) {
    const margin = (high - low) / 20;
    [low, high] = [low - margin, high + margin];
  }
  const at = (value: number) =>
    from + ((of(value) - low) / (high - low)) * (to - from);
  const ticks = log ? decades(low, high) : steps(low, high);
  return { at, ticks };
}

/** About five round numbers. */
function steps(low: number, high: number): number[] {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * power >= rough)! * power;
  const ticks: number[] = [];
  for (
    let i = Math.ceil(low / step - 1e-9);
    i * step <= high + 1e-9 * step;
    i++
  )
    ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function decades(low: number, high: number): number[] {
  const ticks: number[] = [];
  const few = high - low > 2 ? [1] : [1, 2, 5];
  for (let power = Math.floor(low); power <= Math.ceil(high); power++) {
    for (const each of few) {
      const value = each * 10 ** power;
      if (Math.log10(value) >= low - 1e-9 && Math.log10(value) <= high + 1e-9)
        ticks.push(Number(value.toPrecision(12)));
    }
  }
  return ticks;
}

/** Vertical positions of names near the wanted ones, without overlaps. */
function spreadOut(wanted: readonly number[]): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a]! - wanted[b]!);
  const heights = [...wanted];
  let free = -Infinity;
  for (const i of order) {
    heights[i] = Math.max(heights[i]!, free);
    free = heights[i]! + NAME_HEIGHT;
  }
  // Shift names up that would be below the plot.
  let limit = PLOT.bottom + NAME_HEIGHT;
  for (const i of order.toReversed()) {
    heights[i] = Math.min(heights[i]!, limit);
    limit = heights[i]! - NAME_HEIGHT;
  }
  return heights;
}

function clamp(height: number): number {
  return Math.max(PLOT.top, Math.min(PLOT.bottom, height));
}

function line(x1: number, y1: number, x2: number, y2: number, kind: string) {
  const [a, b, c, d] = [x1, y1, x2, y2].map((value) => value.toFixed(1));
  return `<line x1="${a}" y1="${b}" x2="${c}" y2="${d}" class="${kind}"/>`;
}

function text(x: number, y: number, content: string, kind: string): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" class="${kind}">${escaped(content)}</text>`;
}

function label(value: number): string {
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5))
    return value.toExponential().replace("e+", "e");
  return String(value).replace("-", "−");
}

function escaped(content: string): string {
  return content
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;");
}
