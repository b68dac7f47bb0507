/** `npm run check`: types, lint, what nobody uses, format; the first that fails ends it. */
import { ensureBuilt } from "./build/target.ts";
import { BUILD_TARGETS } from "./build/targets.ts";
import { runScript } from "./script.ts";
import { runTool } from "./tool.ts";

const TOOLS = [
  ["typescript"],
  ["typescript", "-p", "test"],
  ["typescript", "-p", "bench"],
  ["typescript", "-p", "src/pages"],
  ["oxlint", "--type-aware", "--deny-warnings"],
  ["knip", "--no-progress"],
  ["prettier", "--check", "."],
];

await runScript({
  meta: {
    name: "npm run check --",
    description: "Check types, lint, unused code and format",
  },
  args: {},
  async run() {
    await ensureBuilt(BUILD_TARGETS.kernels, BUILD_TARGETS["kernels-decode"]);
    for (const [name, ...args] of TOOLS) {
      const code = await runTool(name!, args);
      if (code !== 0) return code;
    }
    return 0;
  },
});
