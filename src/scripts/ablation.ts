/** `npm run ablation`: the command of that name, on kernels and a Worker that are as their sources say. */
import { COMMANDS } from "../cli/commands.ts";
import { ablationCommand } from "../cli/ablation/command.ts";
import { ensureBuilt } from "./build/target.ts";
import { BUILD_TARGETS } from "./build/targets.ts";
import { runScript } from "./script.ts";

await runScript({
  meta: {
    name: "npm run ablation --",
    description: COMMANDS.ablation.description,
  },
  args: ablationCommand.args,
  async run({ rawArgs }) {
    await ensureBuilt(BUILD_TARGETS.kernels, BUILD_TARGETS.worker);
    const { ablation } = await import("../cli/ablation/ablation.ts");
    return ablation(rawArgs, async (markdown) => {
      const { format } = await import("prettier");
      return format(markdown, { parser: "markdown" });
    });
  },
});

// Miniflare's sockets to its runtimes may linger; nothing of ours is left to do.
process.exit();
