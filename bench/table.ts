/** Results for people: a table each for the backward pass, for products and for what memory bounds. */
import type { Profile, Report, Result, Runtime } from "./result.ts";

const HEAD = [
  "benchmark",
  "unit",
  "node",
  "÷ baseline",
  "workerd",
  "÷ baseline",
  "baseline",
];

const SECTIONS: readonly { title: string; prefixes: readonly string[] }[] = [
  { title: "Backward of a linear layer, T = 1024", prefixes: ["backward/"] },
  { title: "Forward of a linear layer, T = 1024", prefixes: ["forward/"] },
  {
    title: "A training step, forward and backward, without the optimizer",
    prefixes: ["step/", "peer/pytorch/"],
  },
  { title: "Newton–Schulz of Muon", prefixes: ["muon/"] },
  {
    title: "One product, T = 1024",
    prefixes: ["gemm/", "matmul/", "peer/onnx", "peer/tfjs"],
  },
  {
    title: "Bytes of f32",
    prefixes: ["memory.copy", "quantize/", "dequantize", "pack/"],
  },
  { title: "Requests to the Worker", prefixes: ["http/"] },
  { title: "Whole steps, edge and trainers", prefixes: ["train/"] },
  { title: "The command on a directory of 2 GB", prefixes: ["directory/"] },
];

/** For a terminal. */
export function renderText(report: Report): string {
  const tables = sections(report).map(
    ({ title, rows }) => `${title}\n${aligned([HEAD, ...rows])}`,
  );
  const profiles = (report.profiles ?? []).map(
    (profile) =>
      `${titleOf(profile)}\n${aligned([PROFILE_HEAD, ...profileRows(profile)])}`,
  );
  return [...tables, ...profiles].join("\n\n");
}

/** For a page: the machine, the tables, and the kernels' figures again by clock cycles. */
export function renderMarkdown(report: Report): string {
  const tables = sections(report).map(
    ({ title, rows }) => `### ${title}\n\n${markdownTable(HEAD, rows)}`,
  );
  const profiles = (report.profiles ?? []).map(
    (profile) =>
      `### ${titleOf(profile)}\n\n${markdownTable(PROFILE_HEAD, profileRows(profile))}`,
  );
  return [describe(report), ...tables, cycles(report), ...profiles].join(
    "\n\n",
  );
}

function describe({ machine }: Report): string {
  return (
    `Machine: ${machine.cpu}, ${machine.cores} cores, ${machine.clockGHz} GHz measured; ` +
    `node ${machine.node} (V8 ${machine.v8}), workerd ${machine.workerd}; ` +
    `probe finds VNNI: ${machine.vnni ? "yes" : "no"}; fused multiply-add: ${machine.fma ? "yes" : "no"}; ` +
    `node pairs vectors: ${machine.pairs ? "yes" : "no"}; ` +
    `variant measured: ${machine.variant}.`
  );
}

/** What the limits are stated in: independent of the clock. */
function cycles({ machine, results }: Report): string {
  const head = ["benchmark", "", "node", "workerd"];
  const own = results.filter(({ name }) => !name.startsWith("peer/"));
  const rows = [...new Set(own.map(({ name }) => name))]
    .filter((name) => /^gemm|^quantize|^pack|^dequantize/.test(name))
    .map((name) => {
      const perCycle = (runtime: Runtime) => {
        const found = own.find((r) => r.name === name && r.runtime === runtime);
        if (!found) return "";
        const rate = found.value / machine.clockGHz;
        return figure(found.unit === "GMAC/s" ? rate : 4 / rate, 2);
      };
      const unit = name.startsWith("gemm") ? "MACs a cycle" : "cycles a value";
      return [name, unit, perCycle("node"), perCycle("workerd")];
    });
  return `### In cycles\n\n${markdownTable(head, rows)}`;
}

const PROFILE_HEAD = ["", "kernel", "calls", "ms", "%", "% of bound"];

function titleOf({ name, milliseconds }: Profile): string {
  return `${name} by kernel, in node: ${figure(milliseconds)} ms`;
}

function profileRows({ parts }: Profile): string[][] {
  return parts.map(({ phase, part, calls, milliseconds, share, ofBound }) => [
    phase,
    part,
    calls > 0 ? `${calls}` : "",
    figure(milliseconds, 2),
    figure(100 * share),
    figure(ofBound === undefined ? undefined : 100 * ofBound, 0),
  ]);
}

type Section = { title: string; rows: string[][] };

function sections({ results }: Report): Section[] {
  return SECTIONS.map(({ title, prefixes }) => ({
    title,
    rows: prefixes.flatMap((prefix) =>
      rowsOf(results.filter(({ name }) => name.startsWith(prefix))),
    ),
  })).filter(({ rows }) => rows.length > 0);
}

/** A row a benchmark and baseline. */
function rowsOf(results: readonly Result[]): string[][] {
  const names = [...new Set(results.map(({ name }) => name))];
  return names.flatMap((name) => {
    const own = results.filter((result) => result.name === name);
    const node = own.find(({ runtime }) => runtime === "node");
    const workerd = own.find(({ runtime }) => runtime === "workerd");
    const baselines = [
      ...new Set(own.flatMap((result) => Object.keys(ratiosOf(result)))),
    ];
    return (baselines.length > 0 ? baselines : [""]).map((baseline, i) => [
      i === 0 ? name : "",
      i === 0 ? own[0].unit : "",
      i === 0 ? figure(node?.value) : "",
      figure(node && ratiosOf(node)[baseline], 2),
      i === 0 ? figure(workerd?.value) : "",
      figure(workerd && ratiosOf(workerd)[baseline], 2),
      baseline,
    ]);
  });
}

function ratiosOf({
  baseline,
  ratio,
  ratios,
}: Result): Record<string, number | undefined> {
  return baseline === undefined ? {} : { [baseline]: ratio, ...ratios };
}

function figure(value: number | undefined, digits = 1): string {
  return value === undefined ? "" : value.toFixed(digits);
}

function isNumber(column: number): boolean {
  return column >= 2 && column <= 5;
}

function markdownTable(
  head: readonly string[],
  rows: readonly string[][],
): string {
  const rule = head.map((_, i) => (isNumber(i) ? "---:" : "---"));
  return [head, rule, ...rows].map(line).join("\n");
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

function aligned(rows: readonly string[][]): string {
  const widths = rows[0].map((_, i) =>
    Math.max(...rows.map((r) => r[i].length)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, i) =>
          isNumber(i) ? cell.padStart(widths[i]) : cell.padEnd(widths[i]),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
