/**
 * A figure of several runs: the trend as a line and, paler, the measured values, as a line if every value has room,
 * else as a band between extremes. A page's charts share the visible range.
 */
import { useSignal } from "@preact/signals";
import { html } from "htm/preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import uPlot from "uplot";
import { figure } from "../shell/format.ts";
import { dataOf, type Line, spanOf } from "./plot-data.ts";
import { HEIGHT, plotOptions, type View } from "./plot-options.ts";
import type { Values } from "./smooth.ts";

type Props = {
  title: string;
  unit: string;
  axis: string;
  isWhole: boolean;
  lines: readonly Line[];
  isLog: boolean;
  view: View;
};

export const COLORS = 6;
export function LineChart(props: Props) {
  const { title, unit, axis, isWhole, lines, isLog, view } = props;
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const cursor = useSignal<number | undefined>(undefined);
  const range = view.value;
  // The same while only the cursor moves: other lines are drawn anew, which takes long of many steps.
  const shown = useMemo(
    () => lines.filter(({ values }) => values.some((v) => v !== null)),
    [lines],
  );
  const colors = shown
    .map(({ color, isDashed }) => `${color}${isDashed ? "-" : ""}`)
    .join();
  const drawn = useRef(shown);
  drawn.current = shown;

  // uPlot's options cannot be changed later, so a change creates a new plot.
  useEffect(() => {
    const element = place.current!;
    const say = (x: number | undefined) =>
      (cursor.value = x !== undefined && isWhole ? Math.floor(x) : x);
    const made = new uPlot(
      plotOptions({
        element,
        lines: drawn.current,
        isLog,
        axis,
        isWhole,
        view,
        say,
      }),
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
              html`<span
                key=${line.name}
                class=${`key line-${line.color}${line.isDashed ? " dashed" : ""}`}
              >
                <bdi>${line.name}</bdi>${" "}
                <b>${x === undefined ? last[i] : told(line, x)}</b>
              </span>`,
          )}
          ${shown.length === 0 && html`<span class="quiet">no values yet</span>`}
          ${x !== undefined && html`<span class="quiet">${axis} ${isWhole ? x.toLocaleString("en") : figure(x)}</span>`}
        </span>
      </figcaption>
      <div
        class="plot"
        ref=${place}
        tabindex="0"
        role="group"
        aria-label=${`${title}, ${unit}, over ${axis}: ${inWords || "nothing yet"}. Arrows move, plus and minus zoom, Escape shows all.`}
        onKeyDown=${(event: KeyboardEvent) => {
          // Shortcuts of the browser, such as its own zoom.
          if (event.ctrlKey || event.altKey || event.metaKey) return;
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

/** The view after a key press. */
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

/** The last value at or before `x`, and its trend; a dash before the line's start and after its end. */
function told(line: Line, x: number): string {
  const at = line.x.findLastIndex(
    (each, i) => each <= x && line.values[i] !== null,
  );
  if (at < 0 || x > line.x.at(-1)!) return figure(null);
  return `${figure(line.values[at])} (${figure(line.trend[at])})`;
}
