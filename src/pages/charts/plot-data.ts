/** What is drawn of runs' lines, in the order in which a plot has its series: least, most, trend, outliers of each. */
import uPlot from "uplot";
import { type Drawn, extremes, type Values } from "./smooth.ts";

/** One run's. */
export type Line = {
  name: string;
  /** Which of the colours. */
  color: number;
  /** Of more lines than colours, those that come round again. */
  isDashed: boolean;
  x: readonly number[];
  values: Values;
  trend: Values;
  isOutlier: readonly boolean[];
};

/** Of each line. */
export const SERIES = 4;
/** A point for every so many pixels, of a line and of a band's edge. */
const PIXELS = 2;

export function spanOf(lines: readonly Line[]): readonly [number, number] {
  const from = Math.min(...lines.map(({ x }) => x[0] ?? 0));
  const to = Math.max(...lines.map(({ x }) => x.at(-1) ?? 1));
  return Number.isFinite(from) && to > from ? [from, to] : [0, 1];
}

export function dataOf(
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
