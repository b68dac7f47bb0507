/** `npm run chaos`: runs under seeded faults, each of which must end in the bytes of the run left alone. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { count } from "../../src/scripts/numbers.ts";
import { runScript } from "../../src/scripts/script.ts";
import { summary, writePage } from "./page.ts";
import { measureRecovery } from "./recovery.ts";
import { type Result, runSchedules, startChaosEdge } from "./schedules.ts";

await runScript({
  meta: {
    name: "npm run chaos --",
    description:
      "Train under faults: each run must end in the bytes of one that was left alone",
  },
  args: {
    schedules: {
      type: "string",
      valueHint: "N",
      default: "200",
      description: "How many; each follows from its seed",
    },
    seed: {
      type: "string",
      valueHint: "N",
      default: "1",
      description: "Of the first",
    },
    lanes: {
      type: "string",
      valueHint: "N",
      default: "6",
      description: "Schedules at a time",
    },
    write: {
      type: "boolean",
      description:
        "Measure recovery from kills too, five minutes, and write docs/reliability.md",
    },
  },
  async run({ args }) {
    const schedules = count("schedules", args.schedules, undefined, 1);
    const first = count("seed", args.seed, undefined, 0);
    const seeds = Array.from({ length: schedules }, (_, i) => first + i);
    const folder = mkdtempSync(join(tmpdir(), "mxfp4-chaos-"));
    const results: Result[] = [];
    const started = performance.now();
    const seconds = () => (performance.now() - started) / 1000;
    const show = (result: Result) => {
      results.push(result);
      const { schedule, problem } = result;
      if (problem !== undefined)
        console.log(
          `seed ${schedule.seed}: ${problem}\n${JSON.stringify(schedule)}`,
        );
      if (results.length % 50 === 0)
        console.log(
          `${results.length} of ${schedules}, ${seconds().toFixed(0)} s`,
        );
    };
    try {
      const edge = await startChaosEdge(join(folder, "schedules"));
      try {
        const lanes = count("lanes", args.lanes, undefined, 1);
        await runSchedules(edge, seeds, lanes, { edgeKills: true }, show);
      } finally {
        await edge.close();
      }
      const found = { results, seconds: seconds(), first };
      console.log(summary(found).join("\n"));
      if (args.write) {
        const recovery = await measureRecovery(
          join(folder, "recovery"),
          (line) => console.log(line),
        );
        writePage(found, recovery);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    const problems = results.filter(({ problem }) => problem !== undefined);
    console.log(
      `done schedules=${schedules} problems=${problems.length} seconds=${seconds().toFixed(1)}`,
    );
    return problems.length === 0 ? 0 : 1;
  },
});
process.exit();
