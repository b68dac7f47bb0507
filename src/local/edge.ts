/**
 * The local edge: the built Worker in a workerd of its own, and more of them as hosts of trainers,
 * since all Workers of one workerd share one thread. They talk HTTP, as they would across machines.
 *
 * wrangler.toml says what is bound; `LOCAL_MODE` is added here and nowhere else.
 */
import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Readable } from "node:stream";
import { Log, LogLevel, Miniflare } from "miniflare";
import { builtWorker, type WorkerSettings } from "./built-worker.ts";
import { endStale, guardRuntimes, lock } from "./processes.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const WORKER_FOLDER = join(ROOT, "build/worker");
export const STATE_FOLDER = join(ROOT, ".mxfp4-edge");
const HOST = "127.0.0.1";
/** Of this process, to tell their logs apart. */
let trainerHosts = 0;
const MAX_LOG_BYTES = 4 * 1024 * 1024;

export type Running = {
  /** Without a slash at the end. */
  url: string;
  close(): Promise<void>;
};

export type EdgeOptions = {
  stateFolder?: string;
  /** 0, the default, takes a free one. */
  port?: number;
  /** What the Worker logs goes to `edge.log` in the state folder only, not to stderr too. */
  quiet?: boolean;
  /**
   * Serve the static pages of wrangler.toml too. The platform's router then stands before the Worker,
   * which costs each request half a millisecond.
   */
  pages?: boolean;
};

/**
 * Serve the API from the state folder, where objects and corpora stay. It ends with `close`, and
 * with this process, whatever way that ends.
 */
export async function startEdge(options: EdgeOptions = {}): Promise<Running> {
  const {
    stateFolder = STATE_FOLDER,
    port = 0,
    quiet = false,
    pages = false,
  } = options;
  mkdirSync(stateFolder, { recursive: true });
  const unlock = lock(stateFolder);
  process.once("exit", unlock);
  const close = () => {
    process.removeListener("exit", unlock);
    unlock();
  };
  try {
    const running = await start(
      {
        ...workerSettings(pages),
        // Objects and buckets outlive this process.
        durableObjectsPersist: join(stateFolder, "objects"),
        r2Persist: join(stateFolder, "buckets"),
      },
      { stateFolder, port, quiet, name: "edge" },
    );
    return {
      url: running.url,
      close: async () => {
        await running.close();
        close();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

export type TrainerHostOptions = {
  /** The edge whose runs are trained. */
  apiUrl: string;
  stateFolder?: string;
  quiet?: boolean;
};

/** The same Worker as a host of trainer objects: its `API` is the edge at `apiUrl`. Nothing stays. */
export async function startTrainerHost(
  options: TrainerHostOptions,
): Promise<Running> {
  const { apiUrl, stateFolder = STATE_FOLDER, quiet = true } = options;
  const { protocol, hostname, port } = new URL(apiUrl);
  if (protocol !== "http:")
    throw new Error(`Expected an http: URL of a local edge, got ${apiUrl}`);
  const worker = workerSettings(false);
  return start(
    {
      ...worker,
      serviceBindings: {
        ...worker.serviceBindings,
        API: { external: { address: `${hostname}:${port || 80}`, http: {} } },
      },
    },
    { stateFolder, port: 0, quiet, name: `trainers-${++trainerHosts}` },
  );
}

/** Miniflare's own type for it needs a package that it does not bring along, so it checks nothing. */
type MiniflareSettings = Record<string, unknown>;

async function start(
  worker: MiniflareSettings,
  {
    stateFolder,
    port,
    quiet,
    name,
  }: Required<Omit<EdgeOptions, "pages">> & { name: string },
): Promise<Running> {
  endStale(stateFolder);
  guardRuntimes(stateFolder);
  const log = openLog(join(stateFolder, `${name}.log`), quiet);
  const temporary = resolve(stateFolder, "tmp", `${process.pid}`);
  mkdirSync(temporary, { recursive: true });

  const miniflare = withTemporaryFolder(
    temporary,
    () =>
      new Miniflare({
        ...worker,
        host: HOST,
        port,
        cf: false, // it would be fetched
        telemetry: { enabled: false },
        log: new Log(LogLevel.NONE),
        handleRuntimeStdio: (stdout: Readable, stderr: Readable) => {
          stdout.on("data", (chunk: Buffer) => log.write(chunk));
          stderr.on("data", (chunk: Buffer) => log.write(chunk));
        },
      }),
  );
  try {
    const url = await miniflare.ready;
    return {
      url: url.origin,
      close: async () => {
        await miniflare.dispose();
        log.close();
      },
    };
  } catch (error) {
    await miniflare.dispose();
    log.close();
    throw error;
  }
}

/** The built Worker, with what wrangler.toml binds and `LOCAL_MODE`; its pages if asked for. */
function workerSettings(pages: boolean): WorkerSettings {
  const settings = builtWorker(join(ROOT, "wrangler.toml"), WORKER_FOLDER);
  if (!pages) delete settings.assets;
  return { ...settings, bindings: { ...settings.bindings, LOCAL_MODE: "1" } };
}

/** Miniflare makes its temporary folder, when constructed, where the environment says. */
function withTemporaryFolder<T>(folder: string, body: () => T): T {
  const before = process.env.TMPDIR;
  process.env.TMPDIR = folder;
  try {
    return body();
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  }
}

/** What the runtime prints, to a file that starts anew each time and stops at 4 MiB. */
function openLog(
  path: string,
  quiet: boolean,
): { write(chunk: Buffer): void; close(): void } {
  const file = openSync(path, "w");
  let left = MAX_LOG_BYTES;
  return {
    write(chunk) {
      if (!quiet) process.stderr.write(chunk);
      if (left > 0) left -= writeSync(file, chunk.subarray(0, left));
    },
    close: () => {
      left = 0; // a last line may still be on its way
      closeSync(file);
    },
  };
}
