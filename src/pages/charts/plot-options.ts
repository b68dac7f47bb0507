/** uPlot options: styles, and selection of a range. */
import type { Signal } from "@preact/signals";
import type uPlot from "uplot";
import { tickLabels } from "../shell/format.ts";
import { type Line, SERIES } from "./plot-data.ts";

/** The visible range of the axis; all of it if undefined. */
export type View = Signal<readonly [number, number] | undefined>;

export const HEIGHT = 220;
/** Tick distances for integer axes. */
const WHOLE = Array.from({ length: 12 }, (_, power) =>
  [1, 2, 5].map((digit) => digit * 10 ** power),
).flat();
/** Length of dashes and gaps in pixels. */
const DASHES = [8, 5];
/** Width of a digit, and space beside a label, in pixels. */
const [DIGIT, BESIDE] = [7.2, 18];
const widthOf = (labels: readonly string[]) =>
  Math.max(56, BESIDE + DIGIT * Math.max(...labels.map((each) => each.length)));
/** Series with at most this many points show them: evaluations, not steps. */
const FEW = 30;

export function plotOptions({
  element,
  lines,
  isLog,
  axis,
  isWhole,
  view,
  say,
}: {
  element: HTMLElement;
  lines: readonly Line[];
  isLog: boolean;
  axis: string;
  /** Whether the axis has integers only. */
  isWhole: boolean;
  view: View;
  say: (x: number | undefined) => void;
}): uPlot.Options {
  const axisStyle = {
    stroke: () => colorOf(element, "quiet"),
    grid: { stroke: () => colorOf(element, "line"), width: 1 },
    ticks: { stroke: () => colorOf(element, "line"), width: 1 },
    font: "12px system-ui, sans-serif",
  };
  const series = lines.flatMap(({ color, isDashed }): uPlot.Series[] => {
    const stroke = () => colorOf(element, `line-${color}`);
    const pale = () => colorOf(element, `line-${color}`, 0.35);
    const line = {
      spanGaps: true,
      points: { show: false },
      ...(isDashed && { dash: DASHES }),
    };
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
        ...(isWhole && { incrs: WHOLE }),
        label: axis,
        labelSize: 18,
        labelFont: axisStyle.font,
      },
      {
        ...axisStyle,
        // No labels before there are values.
        size: (_, labels) => widthOf(labels ?? []),
        values: (_, all) => tickLabels(all),
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
        selectByTouch,
      ],
    },
  };
}

/** uPlot handles the mouse only: this adds selection by a horizontal touch drag; vertical drags scroll the page. */
function selectByTouch(plot: uPlot): void {
  const { over } = plot;
  let from: number | undefined;
  const leftOf = ({ clientX }: PointerEvent): number => {
    const { left, width } = over.getBoundingClientRect();
    return Math.min(width, Math.max(0, clientX - left));
  };
  const select = (left: number, width: number, isDone: boolean) =>
    plot.setSelect({ left, width, top: 0, height: over.clientHeight }, isDone);
  over.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse") from = leftOf(event);
  });
  over.addEventListener("pointermove", (event) => {
    if (from === undefined) return;
    const to = leftOf(event);
    select(Math.min(from, to), Math.abs(to - from), false);
  });
  over.addEventListener("pointerup", (event) => {
    if (from === undefined) return;
    const to = leftOf(event);
    select(Math.min(from, to), Math.abs(to - from), true);
    from = undefined;
  });
  over.addEventListener("pointercancel", () => {
    from = undefined;
    select(0, 0, false);
  });
}

/** A line with a single point would be invisible. */
function areFew({ data }: uPlot, series: number): boolean {
  return (
    Array.from(data[series]!).filter((value) => value != null).length <= FEW
  );
}

/** Resolves a CSS variable to a colour for the canvas, which supports neither variables nor light-dark(). */
function colorOf(element: HTMLElement, name: string, alpha = 1): string {
  const probe = document.createElement("i");
  // Keep the curves' colours in forced-colors mode, since they distinguish the runs.
  probe.style.forcedColorAdjust = "none";
  probe.style.color = `var(--${name})`;
  element.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return alpha === 1
    ? color
    : color.replace(/\)$/, ` / ${alpha})`).replaceAll(",", "");
}
