/**
 * `node bench/start/main.ts [FOLDER …]`: how long a Worker takes to start: the one that is built here, and others whose module and
 * kernels lie in folders, as `npm run build` or `wrangler deploy --dry-run --outdir` of another commit leaves them.
 *
 *   start        ms from Miniflare's construction to the first answer of /healthz, less those of an empty Worker
 *   evaluation   ms of CPU that Node takes to parse and evaluate the module, without compiling the kernels
 *
 * All take turns, each start and each evaluation in a process of its own; figures are medians over rounds, of differences within
 * a round, and the least beside them. Nothing is bound: databases and buckets would start too.
 */
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { Log, LogLevel, Miniflare } from "miniflare";
import { ensureBuilt, ROOT } from "../../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../../src/scripts/build/targets.ts";
import { median } from "../median.ts";

const ROUNDS = 15;
const EMPTY = "export default { fetch: () => new Response() };";

await ensureBuilt(BUILD_TARGETS.worker);
const workers = ["build/worker", ...process.argv.slice(2)].map((folder) => ({
  folder: resolve(ROOT, folder),
  start: [] as number[],
  evaluation: [] as number[],
}));
// The first of all reads the runtime and Miniflare from the disk.
await startMs({ script: EMPTY });
for (let round = 0; round < ROUNDS; round++) {
  const empty = await startMs({ script: EMPTY });
  for (const { folder, start, evaluation } of workers) {
    const { entry, kernels } = filesOf(folder);
    const modules = [
      { type: "ESModule", path: entry },
      ...kernels.map((path) => ({ type: "CompiledWasm", path })),
    ];
    start.push((await startMs({ modules, modulesRoot: folder })) - empty);
    evaluation.push(evaluationMs(entry));
  }
}
for (const { folder, start, evaluation } of workers) {
  console.log(
    `${folder}: start ${figures(start)}, evaluation ${figures(evaluation)}`,
  );
}
// Miniflare's sockets to its runtimes may linger.
process.exit();

function figures(values: readonly number[]): string {
  const least = Math.min(...values);
  return `${median(values).toFixed(0)} ms (least ${least.toFixed(0)})`;
}

function filesOf(folder: string): { entry: string; kernels: string[] } {
  const files = readdirSync(folder).map((file) => join(folder, file));
  const [entry, ...others] = files.filter((file) => file.endsWith(".js"));
  if (entry === undefined || others.length > 0)
    throw new Error(`Expected one .js in ${folder}, got ${files.length} files`);
  return { entry, kernels: files.filter((file) => file.endsWith(".wasm")) };
}

async function startMs(script: Record<string, unknown>): Promise<number> {
  const start = performance.now();
  const miniflare = new Miniflare({
    modules: true,
    ...script,
    compatibilityDate: "2026-07-30",
    bindings: { LOCAL_MODE: "1", REQUEST_LOG: "" },
    unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
    cf: false, // it would be fetched
    telemetry: { enabled: false },
    log: new Log(LogLevel.NONE),
  });
  try {
    await miniflare.ready;
    const url = new URL("/healthz", await miniflare.unsafeGetDirectURL());
    const answer = await fetch(url);
    await answer.text();
    if (!answer.ok) throw new Error(`${url.href} answered ${answer.status}`);
    return performance.now() - start;
  } finally {
    await miniflare.dispose();
  }
}

function evaluationMs(entry: string): number {
  const script = join(import.meta.dirname, "evaluate.ts");
  const options = { encoding: "utf8" } as const;
  return Number(execFileSync(process.execPath, [script, entry], options));
}
