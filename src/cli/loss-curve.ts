/** A curve for a terminal, in braille characters of 2 × 4 dots. */

const COLUMNS = 60;
const ROWS = 10;
/** Bits of a braille character by row and column of its dots (Unicode, block U+2800). */
const DOTS = [
  [0x01, 0x08],
  [0x02, 0x10],
  [0x04, 0x20],
  [0x40, 0x80],
] as const;

type Point = { step: number; loss: number };

/**
 * `points`: at least two, ordered by step. Each column of dots shows the mean of its points; columns without points are
 * interpolated linearly. `unit`: of the losses.
 */
export function lossCurve(points: readonly Point[], unit: string): string {
  const [first, last] = [points[0]!.step, points.at(-1)!.step];
  const width = 2 * COLUMNS;
  const height = 4 * ROWS;
  const sums = Array.from({ length: width }, () => ({ sum: 0, count: 0 }));
  for (const { step, loss } of points) {
    const column = Math.floor(((step - first) / (last - first)) * (width - 1));
    sums[column]!.sum += loss;
    sums[column]!.count++;
  }
  const known = sums.flatMap(({ sum, count }, column) =>
    count > 0 ? [{ column, mean: sum / count }] : [],
  );
  const means = known.flatMap(({ column, mean }, index) => {
    const next = known[index + 1] ?? { column: column + 1, mean };
    const run = next.column - column;
    return Array.from(
      { length: run },
      (_, i) => mean + ((next.mean - mean) * i) / run,
    );
  });
  const [least, most] = [Math.min(...means), Math.max(...means)];
  const cells = Array.from({ length: ROWS }, () =>
    Array.from({ length: COLUMNS }, () => 0),
  );
  for (const [column, mean] of means.entries()) {
    const share = most === least ? 0 : (most - mean) / (most - least);
    const row = Math.round(share * (height - 1));
    cells[row >> 2]![column >> 1]! |= DOTS[row & 3]![(column & 1) as 0 | 1];
  }
  const labels = [most.toFixed(2), least.toFixed(2)];
  const indent = Math.max(...labels.map(({ length }) => length)) + 1;
  const lines = cells.map((row, index) => {
    const label =
      index === 0 ? labels[0]! : index === ROWS - 1 ? labels[1]! : "";
    return `${label.padStart(indent - 1)} ${row.map((bits) => String.fromCharCode(0x2800 + bits)).join("")}`;
  });
  const steps = `step ${first}`;
  const middle = Math.floor((COLUMNS - unit.length) / 2);
  const begun = steps.padEnd(middle) + unit;
  return [
    ...lines,
    " ".repeat(indent) + begun + String(last).padStart(COLUMNS - begun.length),
  ].join("\n");
}
