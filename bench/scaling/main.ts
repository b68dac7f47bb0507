/** `npm run scaling`: how long a step takes by trainers, shards, parameters and link, foretold and measured. */
import { ensureBuilt } from "../../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../../src/scripts/build/targets.ts";
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import { count } from "../../src/cli/train/numbers.ts";
import { runScript } from "../../src/scripts/script.ts";
import { measureScaling } from "./measure.ts";
import { rendered, writePage } from "./page.ts";

await runScript({
  meta: {
    name: "npm run scaling --",
    description:
      "Measure steps of runs by trainers, shards, parameters and link, and what a model foretells of them: five minutes",
  },
  args: {
    steps: {
      type: "string",
      valueHint: "N",
      default: "5",
      description: "Of each setting",
    },
    write: { type: "boolean", description: "Write docs/scaling.md" },
  },
  async run({ args }) {
    const steps = count("steps", args.steps, undefined, 1);
    await ensureBuilt(BUILD_TARGETS.worker, BUILD_TARGETS.kernels);
    loadKernelsFile();
    const sections = rendered(await measureScaling(steps, console.log));
    for (const text of Object.values(sections)) console.log(`\n${text}`);
    if (args.write) await writePage(sections);
    return 0;
  },
});
process.exit();
