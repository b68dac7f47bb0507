/**
 * The local edge with an inspector, which tells what the isolate of the Worker and its objects holds:
 * the process holds the simulated bucket and its databases too.
 */
import { join, resolve } from "node:path";
import { Log, LogLevel, Miniflare } from "miniflare";
import { builtWorker } from "../../src/local/built-worker.ts";
import { guardRuntimes } from "../../src/local/processes.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const WORKER_FOLDER = join(ROOT, "build/worker");

export type InspectedEdge = {
  url: string;
  /** Bytes of the isolate: its objects, its buffers and the kernels' memory. Garbage counts too. */
  heapBytes(): Promise<number>;
  close(): Promise<void>;
};

export async function startInspectedEdge(
  stateFolder: string,
): Promise<InspectedEdge> {
  const settings = builtWorker(join(ROOT, "wrangler.toml"), WORKER_FOLDER);
  delete settings.assets;
  const miniflare = new Miniflare({
    ...(settings as Record<string, unknown>),
    ...guardRuntimes(stateFolder),
    bindings: { ...settings.bindings, LOCAL_MODE: "1", REQUEST_LOG: "" },
    host: "127.0.0.1",
    inspectorPort: 0,
    durableObjectsPersist: join(stateFolder, "objects"),
    r2Persist: join(stateFolder, "buckets"),
    cf: false, // it would be fetched
    telemetry: { enabled: false },
    log: new Log(LogLevel.NONE),
  });
  const { origin } = await miniflare.ready;
  const { host } = await miniflare.getInspectorURL();
  const inspector = await connect(`ws://${host}/core:user:${settings.name}`);
  return {
    url: origin,
    heapBytes: async () => {
      const usage = await inspector.call("Runtime.getHeapUsage");
      return (
        usage.usedSize! +
        usage.embedderHeapUsedSize! +
        usage.backingStorageSize!
      );
    },
    close: async () => {
      inspector.close();
      await miniflare.dispose();
    },
  };
}

/** The most that the isolate held while `body` ran, asked again and again. */
export async function mostBytes(
  edge: InspectedEdge,
  what: string,
  body: () => Promise<void>,
): Promise<number> {
  const started = performance.now();
  let isRunning = true;
  let most = 0;
  let samples = 0;
  const watch = async () => {
    while (isRunning) {
      most = Math.max(most, await edge.heapBytes());
      samples++;
    }
  };
  const stop = () => (isRunning = false);
  await Promise.all([watch(), body().finally(stop)]);
  const seconds = (performance.now() - started) / 1000;
  console.log(
    `${what}: at most ${(most / 2 ** 20).toFixed(0)} MiB in ${samples} samples, ${seconds.toFixed(1)} s`,
  );
  return most;
}

type Inspector = {
  call(method: string): Promise<Record<string, number>>;
  close(): void;
};

/** The Chrome DevTools protocol: numbered calls, and answers that bear their numbers. */
async function connect(url: string): Promise<Inspector> {
  const socket = new WebSocket(url);
  const waiting = new Map<number, (result: Record<string, number>) => void>();
  let calls = 0;
  socket.addEventListener("message", ({ data }) => {
    const { id, result } = JSON.parse(String(data)) as {
      id: number;
      result: Record<string, number>;
    };
    waiting.get(id)?.(result);
    waiting.delete(id);
  });
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve);
    socket.addEventListener("error", reject);
  });
  return {
    call: (method) =>
      new Promise((resolve) => {
        const id = ++calls;
        waiting.set(id, resolve);
        socket.send(JSON.stringify({ id, method }));
      }),
    close: () => socket.close(),
  };
}
