/** `npm run scaling`: how long a step takes by trainers, shards, parameters and link, foretold and measured. */
import { readFileSync, writeFileSync } from "node:fs";
import { ensureBuilt } from "../../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../../src/scripts/build/targets.ts";
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import { flag, valued } from "../../src/cli/argument.ts";
import { count } from "../../src/cli/numbers.ts";
import { runScript } from "../../src/scripts/script.ts";
import { foretold } from "./fit.ts";
import { measureScaling, onEdge, type Sample } from "./measure.ts";
import { rendered, writePage } from "./page.ts";
import { subtreesTable } from "./subtrees-page.ts";
import { measureSubtrees } from "./subtrees.ts";

await runScript({
  meta: {
    name: "npm run scaling --",
    description:
      "Measure training steps by trainers, shards, parameters and network, and compare with a model's prediction; takes twenty minutes",
  },
  args: {
    rounds: valued(
      "N",
      "Rounds over the settings of the smallest model; the next has half, the last a third",
      "8",
    ),
    steps: valued("N", "Steps of each run with --subtrees", "8"),
    json: valued("FILE", "Write the measurements to this file"),
    from: valued(
      "FILE",
      "Measure nothing; read the measurements from a file that --json wrote",
    ),
    subtrees: flag(
      "Measure instead the load that subtrees take off a shard, with simulated trainers; takes a minute",
    ),
    write: flag("Write docs/scaling.md"),
  },
  async run({ args }) {
    const rounds = count("rounds", args.rounds, undefined, 1);
    const steps = count("steps", args.steps, undefined, 1);
    await ensureBuilt(BUILD_TARGETS.worker, BUILD_TARGETS.kernels);
    loadKernelsFile();
    if (args.subtrees) {
      const text = subtreesTable(
        await onEdge((site) => measureSubtrees(site, steps, console.log)),
      );
      console.log(`\n${text}`);
      if (args.write) await writePage({ subtrees: text });
      return 0;
    }
    const samples = args.from
      ? (JSON.parse(readFileSync(args.from, "utf8")) as Sample[])
      : await measureScaling(rounds, console.log);
    if (args.json) writeFileSync(args.json, JSON.stringify(samples));
    const sections = rendered(foretold(samples));
    for (const text of Object.values(sections)) console.log(`\n${text}`);
    if (args.write) await writePage(sections);
    return 0;
  },
});
process.exit();
