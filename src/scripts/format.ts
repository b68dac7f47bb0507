/** `npm run format`: write every file as `npm run check` wants it. */
import { runScript } from "./script.ts";
import { runTool } from "./tool.ts";

await runScript({
  meta: { name: "npm run format --", description: "Format every file" },
  args: {},
  run: () => runTool("prettier", ["--write", "."]),
});
