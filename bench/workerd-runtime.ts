/** The bench Worker in a workerd of its own, timed from outside. */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { Log, LogLevel, Miniflare } from "miniflare";
import { unstable_getMiniflareWorkerOptions } from "wrangler";
import { endStale, guardRuntimes } from "../src/cli/processes.ts";
import type { Benchmark, Timed } from "./benchmark.ts";
import type { Variant } from "./variant.ts";

const ROOT = resolve(import.meta.dirname, "..");
const CONFIG = join(import.meta.dirname, "wrangler.toml");
const WRANGLER = join(ROOT, "node_modules/wrangler/bin/wrangler.js");
const OUT = join(ROOT, "build/bench");

export type WorkerdRuntime = {
  timed: (benchmark: Benchmark) => Timed;
  close: () => Promise<void>;
};

export async function startWorkerd(
  forced: Variant | undefined,
): Promise<WorkerdRuntime> {
  mkdirSync(OUT, { recursive: true });
  execFileSync(
    process.execPath,
    [WRANGLER, "deploy", "--dry-run", "--config", CONFIG, "--outdir", OUT],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  endStale(OUT);
  guardRuntimes(OUT);
  const { workerOptions } = unstable_getMiniflareWorkerOptions(CONFIG);
  const miniflare = new Miniflare({
    ...(workerOptions as Record<string, unknown>),
    modules: true,
    modulesRoot: OUT,
    scriptPath: join(OUT, "worker.js"),
    bindings: forced ? { VARIANT: forced } : {},
    cf: false, // it would be fetched
    telemetry: { enabled: false },
    log: new Log(LogLevel.NONE),
  });
  const url = await miniflare.ready;

  /** Seconds of one request. */
  const request = async (name: string, iterations: number) => {
    const query = new URLSearchParams({ name, iterations: `${iterations}` });
    const start = performance.now();
    const response = await fetch(`${url.origin}/?${query.toString()}`);
    const text = await response.text();
    if (!response.ok) throw new Error(`${name} failed in workerd: ${text}`);
    return (performance.now() - start) / 1000;
  };
  return {
    timed: (benchmark) => ({
      ...benchmark,
      // What is not the iterations: routing, and putting the operands into memory.
      time: async (iterations) => {
        const empty = await request(benchmark.name, 0);
        return (await request(benchmark.name, iterations)) - empty;
      },
    }),
    close: () => miniflare.dispose(),
  };
}
