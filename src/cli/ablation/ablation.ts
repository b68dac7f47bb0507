/**
 * Measures the cost of each recipe in the final loss, by whole training runs with several seeds. Finished runs are
 * kept, so that an interrupted ablation continues; a page is written of all there are.
 */
import { hash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { parseArgs } from "citty";
import { loadTrainingKernels } from "../../kernels/load-file.ts";
import { fingerprint } from "../../kernels/matmul.ts";
import { checkWritable, makeFolder } from "../../local/make-folder.ts";
import { INTERRUPTED, onEndSignal } from "../../local/signals.ts";
import { type Ablation, parseAblation } from "./options.ts";
import { ablationArgs } from "./arguments.ts";
import { withConfig } from "../config-file.ts";
import { makeRuns } from "./make-runs.ts";
import { keptOutcome, type Outcome } from "./outcome.ts";
import { Overview } from "./overview.ts";
import { ablationCharts, ablationPage, plainTable } from "./page.ts";
import { trialsOf } from "./setting.ts";
import { rawData, summarize } from "./summary.ts";
import { mobyDick } from "../train/moby-dick.ts";

/** Folder of the charts, in that of the page. */
const CHARTS = "ablation";

export type PageFormat = (markdown: string) => Promise<string>;

/** Runs the ablation with typed `ablationArgs`. Returns the exit code. Sockets to runtimes may stay open afterwards. */
export async function ablation(
  typed: readonly string[],
  format: PageFormat = (markdown) => Promise.resolve(markdown),
): Promise<number> {
  onEndSignal(() => {
    console.error("\nfinished runs are kept; repeat the command to continue");
    process.exit(INTERRUPTED);
  });
  const rawArgs = [...withConfig(typed, ablationArgs)];
  const args = parseArgs<typeof ablationArgs>(rawArgs, ablationArgs);
  return compare(parseAblation(args, rawArgs), format);
}

async function compare(asked: Ablation, format: PageFormat): Promise<number> {
  loadTrainingKernels();
  const { settings, seeds, jobs, place, out, isJson } = asked;
  const shown = isJson ? process.stderr : process.stdout;
  // Fail before measuring if the output is not writable.
  for (const folder of [out, join(out, CHARTS), place.outcomes])
    checkWritable(folder);
  const text = Uint8Array.from(readFileSync(mobyDick()));
  const machine = fingerprint();
  const world = `${hash("sha256", text)} ${machine}`;
  const trials = trialsOf(settings, seeds, world);
  const overview = new Overview(shown);
  const missing = await makeRuns(trials, text, jobs, machine, place, overview);
  const outcomeOf = (key: string) => keptOutcome(place.outcomes, key);
  const summaries = settings.map((setting) =>
    summarize(setting, seeds, world, outcomeOf),
  );
  if (isJson)
    console.log(JSON.stringify(rawData(settings, seeds, world, outcomeOf)));
  else for (const summary of summaries) console.log(plainTable(summary));
  if (missing < trials.length) {
    await write(asked, summaries, world, outcomeOf, format);
    shown.write(`written to ${relative(process.cwd(), out) || "."}\n`);
  }
  if (missing === 0) return 0;
  console.error(
    `Expected ${trials.length} runs, got ${trials.length - missing}; repeat the command to train the others`,
  );
  return 1;
}

async function write(
  { settings, seeds, out, command }: Ablation,
  summaries: Parameters<typeof ablationPage>[0]["summaries"],
  world: string,
  outcomeOf: (key: string) => Outcome | undefined,
  format: PageFormat,
): Promise<void> {
  const folder = join(out, CHARTS);
  makeFolder(folder);
  for (const summary of summaries) {
    const { loss, gap } = ablationCharts(summary);
    const { name } = summary.setting;
    writeFileSync(join(folder, `${name}-loss.svg`), loss);
    writeFileSync(join(folder, `${name}-gap.svg`), gap);
  }
  const trials = trialsOf(settings, seeds, world);
  const outcomes = trials.flatMap(({ key }) => outcomeOf(key) ?? []);
  const machines = [
    ...new Set(
      outcomes.map((outcome) => {
        const { cpu, cores, jobs } = outcome.machine;
        return `${cpu}, ${cores} cores, ${jobs} runs at a time`;
      }),
    ),
  ];
  const fingerprints = [
    ...new Set(outcomes.map(({ machine }) => machine.fingerprint)),
  ];
  const made = `It has ${outcomes.length} of ${trials.length} runs, with fingerprint ${fingerprints.join(" and ")} ([versions.md](versions.md)), trained on: ${machines.join("; ")}. The last column is the mean time of a run there.`;
  const text = ablationPage({ summaries, made, command });
  writeFileSync(join(out, "ablation.md"), await format(text));
  const data = rawData(settings, seeds, world, outcomeOf);
  const machine = outcomes[0]!.machine;
  writeFileSync(
    join(out, "ablation.json"),
    `${JSON.stringify({ machine, machines, settings: data })}\n`,
  );
}
