/** The bench Worker in a workerd of its own, timed from outside. */
import { mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { Log, LogLevel, Miniflare } from "miniflare";
import { builtWorker } from "../src/local/built-worker.ts";
import { endStale, guardRuntimes } from "../src/local/processes.ts";
import { bundleTarget } from "../src/scripts/build/bundle.ts";
import { ensureBuilt, ROOT } from "../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../src/scripts/build/targets.ts";
import type { Benchmark, Timed } from "./benchmark.ts";
import type { Variant } from "./variant.ts";

const OUT = join(ROOT, "build/bench");

export type WorkerdRuntime = {
  timed: (benchmark: Benchmark) => Timed;
  close: () => Promise<void>;
};

/** Bundle the Worker that a file beside this one configures, and serve it. */
export async function startWorker(
  configFile: string,
  bindings: Record<string, string>,
): Promise<{ origin: string; close: () => Promise<void> }> {
  const config = `bench/${configFile}`;
  const folder = `build/bench/${basename(configFile, ".toml")}`;
  const name = `bench-${basename(configFile, ".toml")}`;
  const needs = [BUILD_TARGETS.kernels];
  await ensureBuilt(bundleTarget({ name, config, folder, needs }));
  mkdirSync(OUT, { recursive: true });
  await endStale(OUT);
  const settings = builtWorker(join(ROOT, config), join(ROOT, folder));
  const miniflare = new Miniflare({
    ...(settings as Record<string, unknown>),
    ...guardRuntimes(OUT),
    bindings: { ...settings.bindings, ...bindings },
    cf: false, // it would be fetched
    telemetry: { enabled: false },
    log: new Log(LogLevel.NONE),
  });
  const { origin } = await miniflare.ready;
  return { origin, close: () => miniflare.dispose() };
}

export async function startWorkerd(
  forced: Variant | undefined,
): Promise<WorkerdRuntime> {
  const bindings: Record<string, string> = forced ? { VARIANT: forced } : {};
  const { origin, close } = await startWorker("wrangler.toml", bindings);

  /** Seconds of one request. */
  const request = async (name: string, iterations: number) => {
    const query = new URLSearchParams({ name, iterations: `${iterations}` });
    const start = performance.now();
    const response = await fetch(`${origin}/?${query.toString()}`);
    const text = await response.text();
    if (!response.ok) throw new Error(`${name} failed in workerd: ${text}`);
    return (performance.now() - start) / 1000;
  };
  return {
    timed: (benchmark) => ({
      ...benchmark,
      // What is not the iterations: routing, and putting the operands into memory.
      time: async (iterations) => {
        for (;;) {
          const empty = await request(benchmark.name, 0);
          const seconds = (await request(benchmark.name, iterations)) - empty;
          // Else something else had the machine meanwhile, and there is nothing to tell.
          if (seconds > 0) return seconds;
        }
      },
    }),
    close,
  };
}
