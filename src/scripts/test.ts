/** `npm test`: all tests, or those that vitest is told to run. */
import { ensureBuilt } from "./build/target.ts";
import { TARGETS } from "./build/targets.ts";
import { runScript } from "./script.ts";
import { runTool } from "./tool.ts";

await runScript({
  meta: { name: "npm test --", description: "Run the tests" },
  args: {},
  passedTo: "vitest run",
  async run({ rawArgs }) {
    await ensureBuilt(...Object.values(TARGETS));
    return runTool("vitest", ["run", ...rawArgs]);
  },
});
