/**
 * The local edge: the built Worker in a workerd of its own, and more of them as hosts of trainers,
 * since all Workers of one workerd share one thread. They talk HTTP, as they would across machines.
 *
 * wrangler.toml says what is bound; who may call is added here and nowhere else.
 */
import { rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { builtWorker, type WorkerSettings } from "./built-worker.ts";
import { lockFolder } from "./lock.ts";
import { makeFolder } from "./make-folder.ts";
import { endStale, temporaryFolder } from "./processes.ts";
import { PACKAGE_ROOT, STATE_FOLDER } from "./places.ts";
import { type Running, startRuntime, tellsPort } from "./runtime.ts";
import { tidy } from "./tidy.ts";

export type { Running };

const WORKER_FOLDER = join(PACKAGE_ROOT, "build/worker");
/** Of the Worker (worker.ts). */
const API_ENTRYPOINT = "api";
/** The Hosts that a Worker in local mode answers to. */
const LOOPBACK = ["127.0.0.1", "localhost", "::1"];
/** Of this process, to tell their logs apart. */
let trainerHosts = 0;

/** Why nobody may serve on `host` so; undefined where that may be. */
export function refusalOf(
  host: string,
  token: string | undefined,
): string | undefined {
  if (token || LOOPBACK.includes(host)) return undefined;
  return `Expected a token for serving other machines, on ${host}, got none`;
}

export type EdgeOptions = {
  stateFolder?: string;
  /** Anything but a name of this machine for itself needs a `token`. */
  host?: string;
  /** 0, the default, takes a free one. */
  port?: number;
  /** What callers send. Without one, everyone on this machine may call, and nobody else. */
  token?: string | undefined;
  /** What the Worker logs goes to `edge.log` in the state folder only, and requests get no lines. */
  quiet?: boolean;
  /** Requests get lines, unless it is quiet. */
  logsRequests?: boolean;
  /**
   * Serve the static pages of wrangler.toml too. The platform's router then stands before the Worker, which costs each
   * request half a millisecond; `apiUrl` goes without it, where the edge has no token.
   */
  pages?: boolean;
  /** What the edge may hold in memory; the platform's 128 unless told. */
  isolateMib?: number;
  /** Whose files jobs may read by URL, in place of those in wrangler.toml. */
  sourceHosts?: string | undefined;
  /** What is to be done before the Worker is read, once folder and port are known to be free. */
  prepare?: () => Promise<void>;
  /** Gets a line for each time that the runtime is started again; stderr unless told. */
  report?: (line: string) => void;
};

export type Edge = Running & {
  /** Say that it is about to be closed: whoever starts the next one waits for that. */
  announceEnd(): void;
};

/**
 * Serve the API from the state folder, where objects and corpora stay. It ends with `close`, and
 * with this process, whatever way that ends.
 */
export async function startEdge(options: EdgeOptions = {}): Promise<Edge> {
  const {
    stateFolder = STATE_FOLDER,
    host = "127.0.0.1",
    port = 0,
    token,
    quiet = false,
    logsRequests = !quiet,
    pages = false,
    isolateMib,
    sourceHosts,
    prepare,
    report = console.error,
  } = options;
  const refusal = refusalOf(host, token);
  if (refusal !== undefined) throw new Error(refusal);
  const lock = await lockFolder(stateFolder);
  try {
    await endStale(stateFolder);
    tidy(stateFolder);
    const own = await freePort(host, port);
    await prepare?.();
    const running = await startRuntime(
      {
        ...workerSettings(pages, logsRequests, {
          ...(token ? { API_TOKEN: token } : { LOCAL_MODE: "1" }),
          ...(sourceHosts === undefined ? {} : { SOURCE_HOSTS: sourceHosts }),
          ...(isolateMib !== undefined && { ISOLATE_MIB: `${isolateMib}` }),
        }),
        // Objects and buckets outlive this process.
        durableObjectsPersist: join(stateFolder, "objects"),
        r2Persist: join(stateFolder, "buckets"),
      },
      {
        stateFolder,
        host,
        port: own,
        // Without a token whoever is on this machine may do all.
        isDirect: !token,
        apiEntrypoint: pages ? API_ENTRYPOINT : undefined,
        quiet,
        report,
        name: "edge",
      },
    );
    return {
      ...running,
      announceEnd: lock.announceEnd,
      close: async () => {
        await running.close();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

export type TrainerHostOptions = {
  /** The edge whose runs are trained. */
  apiUrl: string;
  stateFolder?: string;
  quiet?: boolean;
  /** As an edge's. */
  report?: (line: string) => void;
};

/** The same Worker as a host of trainer objects: its `API` is the edge at `apiUrl`. Nothing stays. */
export async function startTrainerHost(
  options: TrainerHostOptions,
): Promise<Running> {
  const {
    apiUrl,
    stateFolder = STATE_FOLDER,
    quiet = true,
    report = console.error,
  } = options;
  const { protocol, hostname, port } = new URL(apiUrl);
  if (protocol !== "http:")
    throw new Error(`Expected an http: URL of a local edge, got ${apiUrl}`);
  const worker = workerSettings(false, !quiet, { LOCAL_MODE: "1" });
  const name = `trainers-${++trainerHosts}`;
  makeFolder(stateFolder);
  await endStale(stateFolder);
  // What its trainers do outlives the runtime; not the host, and not this process.
  const objects = join(temporaryFolder(stateFolder), name);
  const running = await startRuntime(
    {
      ...worker,
      durableObjectsPersist: objects,
      serviceBindings: {
        ...worker.serviceBindings,
        API: { external: { address: `${hostname}:${port || 80}`, http: {} } },
      },
    },
    {
      stateFolder,
      host: "127.0.0.1",
      port: 0,
      isDirect: true,
      quiet,
      report,
      name,
    },
  );
  return {
    ...running,
    close: async () => {
      await running.close();
      rmSync(objects, { recursive: true, force: true });
    },
  };
}

/** The built Worker, with what wrangler.toml binds and who may call; its pages if asked for. */
function workerSettings(
  pages: boolean,
  logsRequests: boolean,
  access: Record<string, string>,
): WorkerSettings {
  const settings = builtWorker(
    join(PACKAGE_ROOT, "wrangler.toml"),
    WORKER_FOLDER,
  );
  if (!pages) delete settings.assets;
  const log = logsRequests ? undefined : { REQUEST_LOG: "" };
  const bindings = { ...settings.bindings, ...log, ...access, EDGE: "local" };
  return { ...settings, bindings };
}

/**
 * The port to serve on; 0 where the runtime takes one and tells. Refuses a port that something listens on:
 * the runtime would say it less clearly, and later.
 */
async function freePort(host: string, port: number): Promise<number> {
  if (port === 0 && tellsPort(host)) return 0;
  return new Promise((free, taken) => {
    const probe = createServer();
    probe.once("error", (error: NodeJS.ErrnoException) => {
      taken(
        error.code === "EADDRINUSE"
          ? new Error(
              `Expected port ${port} of ${host} to be free, but something listens on it; --port 0 takes one that is free`,
            )
          : new Error(`Cannot serve on ${host}:${port}: ${error.message}`),
      );
    });
    probe.listen(port, host, () => {
      const address = probe.address() as AddressInfo;
      probe.close(() => free(address.port));
    });
  });
}
