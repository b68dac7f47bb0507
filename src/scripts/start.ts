/** `npm start`: serve the API on this machine until Ctrl-C. */
import { startEdge } from "../local/edge.ts";
import { ensureBuilt } from "./build/target.ts";
import { TARGETS } from "./build/targets.ts";
import { runScript } from "./script.ts";

await runScript({
  meta: {
    name: "npm start --",
    description: "Serve the API on http://127.0.0.1",
  },
  args: {
    port: {
      type: "string",
      default: "8787",
      description: "Port to serve on; 0 takes a free one",
    },
  },
  async run({ args }) {
    // Before Miniflare's own listeners, whose exit code would be an error's. Exiting ends the runtime.
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.once(signal, () => process.exit(0));
    }
    try {
      const port = portOf(args.port);
      await ensureBuilt(TARGETS.worker, TARGETS.docs);
      const { url } = await startEdge({
        port,
        pages: true,
      });
      console.log(
        `mxfp4-edge serves on ${url}, its docs on ${url}/docs (Ctrl-C ends it); try: head -c 128 /dev/zero | curl -sS --data-binary @- -H "Content-Type: application/octet-stream" -o x.safetensors "${url}/v1/quantize?dtype=f32&shape=32"`,
      );
    } catch (error) {
      console.error(error instanceof Error ? error.message : error);
      process.exitCode = 1;
    }
  },
});

function portOf(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65535) {
    throw new Error(
      `Expected --port to be a number from 0 to 65535, got "${text}"`,
    );
  }
  return port;
}
