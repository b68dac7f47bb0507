/** A plot's data in the order of its series: minimum, maximum, trend, outliers of each line. */
import uPlot from "uplot";
import { type Drawn, extremes, type Values } from "./smooth.ts";

/** The line of one run. */
export type Line = {
  name: string;
  /** Index of the colour. */
  color: number;
  /** Dashed if there are more lines than colours. */
  isDashed: boolean;
  x: readonly number[];
  values: Values;
  trend: Values;
  isOutlier: readonly boolean[];
};

/** Per line. */
export const SERIES = 4;
/** Pixels per point of a line or a band's edge. */
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

/** The outliers, at the drawn points. */
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
