/** `npm run chaos`: runs under seeded faults, each of which must end in the bytes of the run left alone. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { flag, valued } from "../../src/cli/argument.ts";
import { count } from "../../src/cli/numbers.ts";
import { runScript } from "../../src/scripts/script.ts";
import { type Found, recovered, summary, writeSection } from "./page.ts";
import { measureRecovery } from "./recovery.ts";
import {
  type ScheduleResult,
  runSchedules,
  startChaosEdge,
} from "./schedules.ts";

await runScript({
  meta: {
    name: "npm run chaos --",
    description:
      "Train under faults; each run must end in the same bytes as an undisturbed run",
  },
  args: {
    schedules: valued(
      "N",
      "Number of fault schedules; each follows from its seed",
      "200",
    ),
    seed: valued("N", "Seed of the first schedule", "1"),
    lanes: valued("N", "Number of schedules in parallel", "6"),
    recovery: flag(
      "Measure instead how soon runs continue after kills, and what kills cost; takes five minutes",
    ),
    write: flag("Write docs/reliability.md"),
  },
  async run({ args }) {
    const folder = mkdtempSync(join(tmpdir(), "mxfp4-chaos-"));
    try {
      if (args.recovery) {
        const told = recovered(await measureRecovery(folder, console.log));
        console.log(told);
        if (args.write) await writeSection("recovery", told);
        return 0;
      }
      const found = await trySchedules(
        folder,
        count("schedules", args.schedules, undefined, 1),
        count("seed", args.seed, undefined, 0),
        count("lanes", args.lanes, undefined, 1),
      );
      console.log(summary(found));
      if (args.write) await writeSection("schedules", summary(found));
      const { results, seconds } = found;
      const problems = results.filter(({ problem }) => problem !== undefined);
      console.log(
        `done schedules=${results.length} problems=${problems.length} seconds=${seconds.toFixed(1)}`,
      );
      return problems.length === 0 ? 0 : 1;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
});
process.exit();

async function trySchedules(
  folder: string,
  schedules: number,
  first: number,
  lanes: number,
): Promise<Found> {
  const results: ScheduleResult[] = [];
  const started = performance.now();
  const secondsSo = () => (performance.now() - started) / 1000;
  const show = (result: ScheduleResult) => {
    results.push(result);
    const { schedule, problem } = result;
    if (problem !== undefined)
      console.log(
        `seed ${schedule.seed}: ${problem}\n${JSON.stringify(schedule)}`,
      );
    if (results.length % 50 === 0)
      console.log(
        `${results.length} of ${schedules}, ${secondsSo().toFixed(0)} s`,
      );
  };
  const seeds = Array.from({ length: schedules }, (_, i) => first + i);
  const edge = await startChaosEdge(folder);
  try {
    await runSchedules(edge, seeds, lanes, { edgeKills: true }, show);
  } finally {
    await edge.close();
  }
  return { results, seconds: secondsSo(), first };
}
