/** `npm run train`: the command of that name, on kernels and a Worker that are as their sources say. */
import { COMMANDS } from "../cli/commands.ts";
import { trainArgs } from "../cli/train/arguments.ts";
import { ensureBuilt } from "./build/target.ts";
import { BUILD_TARGETS } from "./build/targets.ts";
import { runScript } from "./script.ts";

await runScript({
  meta: {
    name: "npm run train --",
    description: COMMANDS.train.description,
  },
  args: trainArgs,
  async run({ rawArgs }) {
    // What fits a trainer, the kernels' own code counts.
    await ensureBuilt(BUILD_TARGETS.kernels, BUILD_TARGETS["kernels-decode"]);
    const { train } = await import("../cli/train/train.ts");
    return train(rawArgs, async () => {
      await ensureBuilt(
        BUILD_TARGETS.worker,
        BUILD_TARGETS.docs,
        BUILD_TARGETS.pages,
      );
    });
  },
});

// Miniflare's sockets to its runtimes may linger; nothing of ours is left to do.
process.exit();
