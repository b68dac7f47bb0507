/** `npm run dev`: the edge as wrangler serves it, built anew at every change. */
import { runScript } from "./script.ts";
import { runTool } from "./tool.ts";

await runScript({
  meta: {
    name: "npm run dev --",
    description: "Serve the edge with wrangler, and rebuild it at every change",
  },
  args: {},
  passedTo: "wrangler dev",
  run: ({ rawArgs }) => runTool("wrangler", ["dev", ...rawArgs]),
});
