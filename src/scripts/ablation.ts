/**
 * `npm run ablation`: what each recipe costs in training, measured by whole runs of several seeds. Finished runs
 * are kept, so that one that was killed goes on where it was, and a page is written of all there are.
 */
import { hash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { fingerprint } from "../kernels/matmul.ts";
import { onEndSignal } from "../local/signals.ts";
import {
  type Ablation,
  ablationArgs,
  parseAblation,
} from "./ablation/options.ts";
import { makeRuns } from "./ablation/make-runs.ts";
import { keptOutcome, type Outcome } from "./ablation/outcome.ts";
import { Overview } from "./ablation/overview.ts";
import { charts, page, plainTable } from "./ablation/page.ts";
import { trialsOf } from "./ablation/setting.ts";
import { rawData, summarize } from "./ablation/summary.ts";
import { ensureBuilt } from "./build/target.ts";
import { BUILD_TARGETS } from "./build/targets.ts";
import { INTERRUPTED } from "./cancel.ts";
import { mobyDick } from "./moby-dick.ts";
import { runScript } from "./script.ts";

await runScript({
  meta: {
    name: "npm run ablation --",
    description: "Train with every recipe and several seeds, and compare",
  },
  args: ablationArgs,
  async run({ args, rawArgs }) {
    onEndSignal(() => process.exit(INTERRUPTED));
    process.exitCode = await main(parseAblation(args, rawArgs));
    // Miniflare's sockets to its runtimes may linger; nothing of ours is left to do.
    process.exit();
  },
});

async function main(ablation: Ablation): Promise<number> {
  await ensureBuilt(BUILD_TARGETS.kernels, BUILD_TARGETS.worker);
  loadKernelsFile();
  const { settings, seeds, jobs, place, out } = ablation;
  const text = Uint8Array.from(readFileSync(mobyDick()));
  const machine = fingerprint();
  const world = `${hash("sha256", text)} ${machine}`;
  const trials = trialsOf(settings, seeds, world);
  const overview = new Overview(process.stdout);
  const missing = await makeRuns(trials, text, jobs, machine, place, overview);
  const outcomeOf = (key: string) => keptOutcome(place.outcomes, key);
  const summaries = settings.map((setting) =>
    summarize(setting, seeds, world, outcomeOf),
  );
  for (const summary of summaries) console.log(plainTable(summary));
  if (missing < trials.length) {
    await write(ablation, summaries, world, outcomeOf);
    console.log(`written to ${relative(process.cwd(), out) || "."}`);
  }
  if (missing === 0) return 0;
  console.error(
    `Expected ${trials.length} runs, got ${trials.length - missing}; the same command makes the others`,
  );
  return 1;
}

async function write(
  { settings, seeds, out, command }: Ablation,
  summaries: Parameters<typeof page>[0]["summaries"],
  world: string,
  outcomeOf: (key: string) => Outcome | undefined,
): Promise<void> {
  const folder = join(out, "ablation");
  mkdirSync(folder, { recursive: true });
  for (const summary of summaries) {
    const { loss, gap } = charts(summary);
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
  const made = `There are ${outcomes.length} of its ${trials.length} runs, of fingerprint ${fingerprints.join(" and ")} (versions.md), made on ${machines.join("; and ")}; seconds are of such runs.`;
  const { format } = await import("prettier");
  const text = page({ summaries, made, command });
  const formatted = await format(text, { parser: "markdown" });
  writeFileSync(join(out, "ablation.md"), formatted);
  const data = rawData(settings, seeds, world, outcomeOf);
  const machine = outcomes[0]!.machine;
  writeFileSync(
    join(out, "ablation.json"),
    `${JSON.stringify({ machine, machines, settings: data })}\n`,
  );
}
