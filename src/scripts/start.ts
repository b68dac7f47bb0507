/** `npm start`: serve the API until Ctrl-C. */
import { resolve } from "node:path";
import { startEdge } from "../local/edge.ts";
import { onEndSignal } from "../local/signals.ts";
import { ensureBuilt } from "./build/target.ts";
import { BUILD_TARGETS } from "./build/targets.ts";
import { runScript } from "./script.ts";

await runScript({
  meta: {
    name: "npm start --",
    description: "Serve the API, on this machine or beyond it",
  },
  args: {
    host: {
      type: "string",
      valueHint: "ADDRESS",
      default: "127.0.0.1",
      description:
        "Address to serve on; 0.0.0.0 is every one of this machine. Beyond 127.0.0.1, localhost and ::1 it needs a token",
    },
    port: {
      type: "string",
      valueHint: "N",
      default: "8787",
      description: "Port to serve on; 0 takes a free one",
    },
    state: {
      type: "string",
      valueHint: "FOLDER",
      description:
        "Where runs, corpora and files are kept (default: .mxfp4-edge)",
    },
    token: {
      type: "string",
      valueHint: "TOKEN",
      description:
        "What callers must send, as `Authorization: Bearer TOKEN` (default: $API_TOKEN, which no process list shows; else this machine may call, without one)",
    },
  },
  async run({ args }) {
    // Exiting ends the runtime.
    onEndSignal(() => process.exit(0));
    const { url, lost } = await startEdge({
      host: args.host,
      port: portOf(args.port),
      ...(args.state && { stateFolder: resolve(args.state) }),
      token: tokenOf(args.token ?? process.env.API_TOKEN),
      pages: true,
      prepare: async () => {
        await ensureBuilt(
          BUILD_TARGETS.worker,
          BUILD_TARGETS.docs,
          BUILD_TARGETS.pages,
        );
      },
    });
    // Miniflare's own listeners came with the runtime.
    onEndSignal(() => process.exit(0));
    console.log(
      `mxfp4-edge serves on ${url}, for browsers too, its docs on ${url}/docs (Ctrl-C ends it); try: head -c 128 /dev/zero | curl -sS --data-binary @- -H "Content-Type: application/octet-stream" -o x.safetensors "${url}/v1/quantize?dtype=f32&shape=32"`,
    );
    await lost;
  },
});

// Only an error comes here, and the runtime's sockets would keep this process.
process.exit();

function portOf(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65535) {
    throw new Error(
      `Expected --port to be a number from 0 to 65535, got "${text}"`,
    );
  }
  return port;
}

/** As a header can carry it. */
function tokenOf(text: string | undefined): string | undefined {
  if (text === undefined || /^[\x21-\x7e]+$/.test(text)) return text;
  throw new Error(
    "Expected --token to be of visible ASCII characters without blanks, got others",
  );
}
