/** The page of an ablation and its charts. */
import { lineChart } from "../chart/line-chart.ts";
import type { Row, Summary } from "./summary.ts";
import type { Estimate } from "./statistics.ts";

type PageData = {
  summaries: readonly Summary[];
  /** A sentence on how the runs were trained. */
  made: string;
  /** The command that writes this page. */
  command: string;
};

export function ablationPage({ summaries, made, command }: PageData): string {
  return `# Ablation

What each recipe costs in the final loss, measured by whole training runs (those of \`npm run train\`, with its trainers and shards). Runs of the same seed
begin with the same parameters and see the same tokens. A **gap** is the loss of a run minus that of the baseline's run of the same seed: its mean over
the seeds ± the standard error of that mean. Losses are in nats per byte over the whole held-out text. Rows are sorted by loss.

\`${command}\` trains the missing runs and writes this page, its charts and
[the raw data](ablation.json). ${made}

${summaries.map(section).join("\n")}`;
}

function section({ setting, rows }: Summary): string {
  const { name, title, about, baseline, incumbent } = setting;
  const judged = baseline !== incumbent;
  const head = [
    "",
    "val loss",
    `gap to ${baseline}`,
    ...(judged ? [`to ${incumbent}`] : []),
    "seeds",
    "s per run",
  ];
  const table = [
    head,
    head.map((_, i) => (i === 0 ? "---" : "---:")),
    ...rows.map((row) => cells(row, setting, judged)),
  ].map((line) => `| ${line.join(" | ")} |`);
  return `## ${title}

${about}

${table.join("\n")}

![Held-out loss above that of ${baseline}](ablation/${name}-gap.svg)

![Held-out loss](ablation/${name}-loss.svg)
`;
}

function cells(
  row: Row,
  { baseline, incumbent }: Summary["setting"],
  judged: boolean,
): string[] {
  const difference = (value: Estimate, from: string) =>
    row.name === from ? "" : signed(value);
  const { valLoss } = row;
  return [
    `\`${row.name}\`${diverged(row)}`,
    valLoss.count === 0
      ? NONE
      : `${valLoss.mean.toFixed(4)} ± ${error(valLoss)}`,
    difference(row.gap, baseline),
    ...(judged ? [difference(row.toIncumbent, incumbent)] : []),
    `${valLoss.count}`,
    row.seconds.toFixed(0),
  ];
}

/** Shown instead of a mean without values: all runs diverged. */
const NONE = "–";

function diverged({ diverged: count }: Row): string {
  return count > 0 ? `, ${count} diverged` : "";
}

/** A difference with its standard error. */
function signed(value: Estimate): string {
  const { mean, count } = value;
  if (count === 0) return NONE;
  const sign = mean < 0 ? "−" : "+";
  return `${sign}${Math.abs(mean).toFixed(4)} ± ${error(value)}`;
}

function error({ standardError }: Estimate): string {
  return Number.isFinite(standardError) ? standardError.toFixed(4) : "?";
}

/** The charts of a setting: held-out loss, and its difference to the baseline. */
export function ablationCharts({ setting, steps, rows }: Summary): {
  loss: string;
  gap: string;
} {
  const { title, baseline } = setting;
  const at = (estimates: readonly Estimate[]) =>
    estimates.map(({ mean }, i) => [steps[i]!, mean] as const);
  const late = Math.floor(steps.length / 4);
  const gaps = rows
    .filter(({ name }) => name !== baseline)
    .toSorted(
      (a, b) => (b.gaps.at(-1)?.mean ?? 0) - (a.gaps.at(-1)?.mean ?? 0),
    );
  return {
    loss: lineChart({
      title: `${title}: held-out loss`,
      x: "step",
      y: "nats per byte",
      lines: rows.map(({ name, losses }) => ({
        name,
        points: at(losses).slice(1),
      })),
      logY: true,
    }),
    gap: lineChart({
      title: `${title}: held-out loss above ${baseline}`,
      x: "step",
      y: "nats per byte, and its standard error",
      lines: gaps.map(({ name, gaps: each }) => ({
        name,
        points: at(each).slice(late),
        spread: each
          .slice(late)
          .map(({ standardError }) =>
            Number.isFinite(standardError) ? standardError : 0,
          ),
      })),
    }),
  };
}

/** The table of a setting, for a terminal. */
export function plainTable({ setting, rows }: Summary): string {
  const width = Math.max(...rows.map(({ name }) => name.length));
  const lines = rows.map((row) => {
    const { name, valLoss, gap, seconds } = row;
    const above = name === setting.baseline ? "" : signed(gap);
    const loss = valLoss.count === 0 ? NONE : valLoss.mean.toFixed(4);
    return `  ${name.padEnd(width)}  ${loss.padEnd(6)}  ${above.padEnd(17)}  ${seconds.toFixed(0)} s${diverged(row)}`;
  });
  return [
    `${setting.title}: val loss, gap to ${setting.baseline}, time of a run`,
    ...lines,
  ].join("\n");
}
