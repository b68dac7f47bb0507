/** `npm run deploy`: wrangler.toml says what and how; wrangler builds, bundles and uploads it. */
import { runScript } from "./script.ts";
import { runTool } from "./tool.ts";

await runScript({
  meta: {
    name: "npm run deploy --",
    description:
      "Deploy the edge to Cloudflare, as configured in wrangler.toml",
  },
  args: {},
  passedTo: "wrangler deploy",
  run: ({ rawArgs }) => runTool("wrangler", ["deploy", ...rawArgs]),
});
