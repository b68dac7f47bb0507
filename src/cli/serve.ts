/** Serves the API and its pages on this machine, until Ctrl-C: `npm start`, `mxfp4-edge serve`. */
import { resolve } from "node:path";
import { type ArgsDef, parseArgs } from "citty";
import { flag, valued } from "./argument.ts";
import { checkBearer, variable } from "./environment.ts";
import {
  type Arguments,
  checkArguments,
  UsageError,
} from "./file-arguments.ts";

export const serveArgs = {
  host: valued(
    "ADDRESS",
    "Address to listen on; 0.0.0.0 for all interfaces. A token is required for any but 127.0.0.1, localhost and ::1",
    "127.0.0.1",
  ),
  port: valued("N", "Port to listen on; 0 for any free port", "8787"),
  state: valued(
    "FOLDER",
    "Folder for runs, datasets and files (default: .mxfp4-edge)",
  ),
  token: valued(
    "TOKEN",
    "Token that clients must send as `Authorization: Bearer TOKEN` (default: $API_TOKEN, which unlike an option is not visible in process lists; without either, only this machine has access, with no token)",
  ),
  json: flag("Print the address as a line of JSON"),
} as const satisfies ArgsDef;

export const serveCommand = {
  args: serveArgs,
  async run(context: { args: Arguments; rawArgs: string[] }): Promise<void> {
    checkArguments(context, serveArgs);
    await serve(context.rawArgs);
  },
};

/**
 * Serves until the process ends; `prepare` is called once folder and port are known to be free. Errors: the edge cannot
 * start, or has failed
 */
export async function serve(
  rawArgs: readonly string[],
  prepare?: () => Promise<void>,
): Promise<never> {
  const args = parseArgs<typeof serveArgs>([...rawArgs], serveArgs);
  const port = portOf(args.port);
  const token = tokenOf(args.token);
  const [{ refusalOf, startEdge }, { isolateMib }, { onEndSignal }] =
    await Promise.all([
      import("../local/edge.ts"),
      import("../local/isolate-mib.ts"),
      import("../local/signals.ts"),
    ]);
  const refusal = refusalOf(args.host, token);
  if (refusal !== undefined) throw new UsageError(refusal);
  // Exiting ends the runtime.
  onEndSignal(() => process.exit(0));
  const { url, lost } = await startEdge({
    host: args.host,
    port,
    ...(args.state && { stateFolder: resolve(args.state) }),
    token,
    pages: true,
    isolateMib: isolateMib(),
    // A single run makes fifty requests per second, which would flood a terminal.
    logsRequests: !process.stderr.isTTY,
    ...(prepare && { prepare }),
  });
  // Again, since starting the runtime has added Miniflare's listeners.
  onEndSignal(() => process.exit(0));
  const bearer =
    token === undefined
      ? ""
      : ` -H "Authorization: Bearer ${args.token === undefined ? "$API_TOKEN" : "TOKEN"}"`;
  console.log(
    args.json
      ? JSON.stringify({ url })
      : [
          `mxfp4-edge serves on ${url}, until Ctrl-C`,
          `  ${url}/      start a run, watch and compare curves`,
          `  ${url}/play  quantize a tensor interactively`,
          `  ${url}/docs  the API; try:`,
          `head -c 128 /dev/zero | curl -sS --data-binary @-${bearer} -H "Content-Type: application/octet-stream" -o x.safetensors "${url}/v1/quantize?dtype=f32&shape=32"`,
        ].join("\n"),
  );
  return lost;
}

function portOf(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65535) {
    throw new UsageError(
      `Expected --port to be a number from 0 to 65535, got "${text}"`,
    );
  }
  return port;
}

function tokenOf(typed: string | undefined): string | undefined {
  if (typed !== undefined) return checkBearer("--token", typed);
  const told = variable("API_TOKEN");
  return told === undefined ? undefined : checkBearer("$API_TOKEN", told);
}
