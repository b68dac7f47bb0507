/** `npm test`: all tests, or those that vitest is told to run. */
import { runScript } from "./script.ts";
import { runTool } from "./tool.ts";

await runScript({
  meta: { name: "npm test --", description: "Run the tests" },
  args: {},
  passedTo: "vitest run",
  run: ({ rawArgs }) => runTool("vitest", ["run", ...rawArgs]),
});
