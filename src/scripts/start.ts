/** `npm start`: `mxfp4-edge serve`, with a Worker and pages that are as their sources say. */
import { COMMANDS } from "../cli/commands.ts";
import { serve, serveArgs } from "../cli/serve.ts";
import { ensureBuilt } from "./build/target.ts";
import { BUILD_TARGETS } from "./build/targets.ts";
import { runScript } from "./script.ts";

await runScript({
  meta: { name: "npm start --", description: COMMANDS.serve.description },
  args: serveArgs,
  run: ({ rawArgs }) =>
    serve(rawArgs, async () => {
      await ensureBuilt(
        BUILD_TARGETS.worker,
        BUILD_TARGETS.docs,
        BUILD_TARGETS.pages,
      );
    }),
});

// Only an error comes here, and the runtime's sockets would keep this process.
process.exit();
