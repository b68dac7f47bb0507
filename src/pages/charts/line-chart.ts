/**
 * One figure of some runs over each other: the trend as a line, beneath it what was measured, as a line
 * where every value has room and else as the band between its extremes. Charts of a page share what of
 * the axis they show.
 */
import { type Signal, useSignal } from "@preact/signals";
import { html } from "htm/preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { figure } from "../shell/format.ts";
import { type Drawn, extremes, type Values } from "./smooth.ts";

/** One run's. */
export type Line = {
  name: string;
  /** Which of the colours. */
  color: number;
  x: readonly number[];
  values: Values;
  trend: Values;
  isOutlier: readonly boolean[];
};

/** What is shown of the axis; all of it when undefined. */
type View = Signal<readonly [number, number] | undefined>;

type Props = {
  title: string;
  unit: string;
  axis: string;
  lines: readonly Line[];
  isLog: boolean;
  view: View;
};

export const COLORS = 6;
const HEIGHT = 220;
/** A point for every so many pixels, of a line and of a band's edge. */
const PIXELS = 2;
/** Evaluations, rather than steps. */
const FEW = 30;
/** Of each line: least, most, trend, outliers. */
const SERIES = 4;

export function LineChart({ title, unit, axis, lines, isLog, view }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const cursor = useSignal<number | undefined>(undefined);
  const range = view.value;
  const shown = lines.filter(({ values }) => values.some((v) => v !== null));
  const colors = shown.map(({ color }) => color).join();
  const drawn = useRef(shown);
  drawn.current = shown;

  // What uPlot holds for good, made anew.
  useEffect(() => {
    const element = place.current!;
    const say = (x: number | undefined) => (cursor.value = x);
    const made = new uPlot(
      options({ element, lines: drawn.current, isLog, axis, view, say }),
      dataOf(drawn.current, range, element.clientWidth),
      element,
    );
    plot.current = made;
    const resized = new ResizeObserver(() =>
      made.setSize({ width: element.clientWidth, height: HEIGHT }),
    );
    resized.observe(element);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => made.redraw(false, true);
    dark.addEventListener("change", redraw);
    return () => {
      resized.disconnect();
      dark.removeEventListener("change", redraw);
      made.destroy();
      plot.current = null;
    };
  }, [isLog, axis, colors]);

  useEffect(() => {
    const made = plot.current;
    if (!made) return;
    made.batch(() => {
      made.setData(dataOf(shown, range, place.current!.clientWidth), false);
      const [min, max] = range ?? spanOf(shown);
      made.setScale("x", { min, max });
    });
  }, [shown, range]);

  const { value: x } = cursor;
  const last = shown.map((line) => figure(lastOf(line.trend)));
  const inWords = shown.map(({ name }, i) => `${name} ${last[i]}`).join(", ");
  return html`
    <figure class="chart">
      <figcaption>
        <b>${title}</b> <span class="quiet">${unit}</span>
        <span class="reading">
          ${shown.map(
            (line, i) =>
              html`<span key=${line.name} class=${`key line-${line.color}`}>
                ${line.name}${" "}
                <b>${x === undefined ? last[i] : told(line, x)}</b>
              </span>`,
          )}
          ${x !== undefined && html`<span class="quiet">${axis} ${figure(x)}</span>`}
        </span>
      </figcaption>
      <div
        class="plot"
        ref=${place}
        tabindex="0"
        role="group"
        aria-label=${`${title}, ${unit}, over ${axis}: ${inWords || "nothing yet"}. Arrows move, plus and minus zoom, Escape shows all.`}
        onKeyDown=${(event: KeyboardEvent) => {
          const moved = steered(event.key, range ?? spanOf(shown));
          if (!moved) return;
          event.preventDefault();
          view.value = moved === "all" ? undefined : moved;
        }}
      ></div>
    </figure>
  `;
}

function lastOf(values: Values): number | null {
  return values.findLast((value) => value !== null) ?? null;
}

function spanOf(lines: readonly Line[]): readonly [number, number] {
  const from = Math.min(...lines.map(({ x }) => x[0] ?? 0));
  const to = Math.max(...lines.map(({ x }) => x.at(-1) ?? 1));
  return Number.isFinite(from) && to > from ? [from, to] : [0, 1];
}

/** What a key makes of a view. */
function steered(
  key: string,
  [from, to]: readonly [number, number],
): readonly [number, number] | "all" | undefined {
  const span = to - from;
  switch (key) {
    case "ArrowLeft":
      return [from - span / 4, to - span / 4];
    case "ArrowRight":
      return [from + span / 4, to + span / 4];
    case "+":
    case "=":
      return [from + span / 4, to - span / 4];
    case "-":
      return [from - span / 2, to + span / 2];
    case "Escape":
      return "all";
  }
  return undefined;
}

/** The value nearest before `x`, and its trend. */
function told(line: Line, x: number): string {
  let at = line.x.findLastIndex((each) => each <= x);
  while (at > 0 && line.values[at] === null) at--;
  return `${figure(line.values[at])} (${figure(line.trend[at])})`;
}

function dataOf(
  lines: readonly Line[],
  range: readonly [number, number] | undefined,
  width: number,
): uPlot.AlignedData {
  const points = Math.max(50, Math.floor(width / PIXELS));
  const tables = lines.map((line) => {
    const whole = range ?? spanOf(lines);
    const drawn = extremes(line.x, line.values, line.trend, whole, points);
    return [
      drawn.x,
      drawn.least,
      drawn.most,
      drawn.trend,
      flagsOf(line, drawn),
    ] as uPlot.AlignedData;
  });
  return tables.length > 0 ? uPlot.join(tables) : [[]];
}

/** What stands out, at the points that are drawn. */
function flagsOf(line: Line, drawn: Drawn): (number | null)[] {
  const flags: (number | null)[] = drawn.x.map(() => null);
  let at = 0;
  for (const [i, isOutlier] of line.isOutlier.entries()) {
    if (!isOutlier) continue;
    while (at < drawn.x.length - 1 && drawn.x[at]! < line.x[i]!) at++;
    if (drawn.x.length > 0) flags[at] = line.values[i]!;
  }
  return flags;
}

/** A line of one point would not be seen. */
function areFew({ data }: uPlot, series: number): boolean {
  return (
    Array.from(data[series]!).filter((value) => value != null).length <= FEW
  );
}

/** A colour of the style sheet as a canvas takes it, which knows no variables and no light-dark. */
function colorOf(element: HTMLElement, name: string, alpha = 1): string {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  element.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return alpha === 1
    ? color
    : color.replace(/\)$/, ` / ${alpha})`).replaceAll(",", "");
}

function options({
  element,
  lines,
  isLog,
  axis,
  view,
  say,
}: Pick<Props, "lines" | "isLog" | "axis" | "view"> & {
  element: HTMLElement;
  say: (x: number | undefined) => void;
}): uPlot.Options {
  const axisStyle = {
    stroke: () => colorOf(element, "quiet"),
    grid: { stroke: () => colorOf(element, "line"), width: 1 },
    ticks: { stroke: () => colorOf(element, "line"), width: 1 },
    font: "12px system-ui, sans-serif",
  };
  const series = lines.flatMap(({ color }): uPlot.Series[] => {
    const stroke = () => colorOf(element, `line-${color}`);
    const pale = () => colorOf(element, `line-${color}`, 0.35);
    const line = { spanGaps: true, points: { show: false } };
    return [
      { ...line, stroke: pale, width: 1 },
      { ...line, stroke: pale, width: 1 },
      { ...line, stroke, width: 2, points: { show: areFew, size: 6 } },
      {
        stroke: () => colorOf(element, "alarm"),
        paths: () => null,
        points: {
          show: true,
          size: 8,
          fill: () => colorOf(element, "alarm"),
        },
      },
    ];
  });
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: true, y: false, setScale: false } },
    scales: {
      x: { time: false, auto: false },
      y: { distr: isLog ? 3 : 1 },
    },
    axes: [
      {
        ...axisStyle,
        size: 30,
        label: axis,
        labelSize: 18,
        labelFont: axisStyle.font,
      },
      {
        ...axisStyle,
        size: 56,
        values: (_, all) => all.map((v) => (v === null ? "" : figure(v, 3))),
      },
    ],
    series: [{}, ...series],
    bands: lines.map((line, i) => ({
      series: [SERIES * i + 2, SERIES * i + 1],
      fill: () => colorOf(element, `line-${line.color}`, 0.2),
    })),
    hooks: {
      setSelect: [
        (plot) => {
          const { left, width } = plot.select;
          if (width < 4) return;
          view.value = [
            plot.posToVal(left, "x"),
            plot.posToVal(left + width, "x"),
          ];
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
      setCursor: [
        (plot) => {
          const { left } = plot.cursor;
          if (left !== undefined && left >= 0) say(plot.posToVal(left, "x"));
          else say(undefined);
        },
      ],
      ready: [
        (plot) =>
          plot.over.addEventListener(
            "dblclick",
            () => (view.value = undefined),
          ),
      ],
    },
  };
}
