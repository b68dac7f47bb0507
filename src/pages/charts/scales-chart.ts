/** A histogram of blocks' scales by exponent. */
import { html } from "htm/preact";
import { counted } from "../shell/format.ts";
import { BarChart } from "./bars.ts";

export type ScaleCount = { exponent: number; count: number };

/** The smallest scale: blocks of zeros. */
const ZEROS = -127;
/** Scale 255: a NaN block. */
const NOT_A_NUMBER = 128;

type Range = readonly [least: number, most: number];

/** The range without zero blocks, which would be far from the others, and NaN blocks. Undefined if nothing remains. */
export function scaleRange(scales: readonly ScaleCount[]): Range | undefined {
  const sized = scales
    .map(({ exponent }) => exponent)
    .filter((exponent) => exponent !== ZEROS && exponent !== NOT_A_NUMBER);
  return sized.length === 0
    ? undefined
    : [Math.min(...sized), Math.max(...sized)];
}

/** `range`: the axis, which several charts may share. */
export function ScalesChart({
  title,
  scales,
  range,
}: {
  title: string;
  scales: readonly ScaleCount[];
  range: Range | undefined;
}) {
  const counts = new Map(
    scales.map(({ exponent, count }) => [exponent, count]),
  );
  const [least, most] = range ?? [0, 0];
  const axis = Array.from({ length: most - least + 1 }, (_, i) => least + i);
  return html`<${BarChart}
    title=${title}
    text=${wordsOf(counts, axis)}
    sets=${[axis.map((exponent) => counts.get(exponent) ?? 0)]}
    labels=${axis.map(String)}
    axes=${["exponent of the scale, a power of two", "blocks"]}
  />`;
}

function wordsOf(
  counts: ReadonlyMap<number, number>,
  axis: readonly number[],
): string {
  const blocks = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const [common] = axis.toSorted(
    (a, b) => (counts.get(b) ?? 0) - (counts.get(a) ?? 0),
  );
  const zeros = counts.get(ZEROS);
  const broken = counts.get(NOT_A_NUMBER);
  return [
    counted(blocks, "block"),
    ...(counts.has(common!) ? [`most have 2^${common}`] : []),
    ...(zeros ? [`${counted(zeros, "has", "have")} nothing but zeros`] : []),
    ...(broken ? [`${counted(broken, "is", "are")} NaN`] : []),
  ].join("; ");
}
