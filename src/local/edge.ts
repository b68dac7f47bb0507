/**
 * The local edge: the built Worker in its own workerd, and further workerds as hosts of trainers, since all Workers of
 * one workerd share a thread. They communicate by HTTP, as they would across machines.
 *
 * wrangler.toml defines the bindings; access control is added here only.
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
/** The Hosts that a Worker in local mode answers. */
const LOOPBACK = ["127.0.0.1", "localhost", "::1"];
/** Numbers this process's trainer hosts, whose logs have separate files. */
let trainerHosts = 0;

/** Why serving on `host` is not allowed; undefined if it is. */
export function refusalOf(
  host: string,
  token: string | undefined,
): string | undefined {
  if (token || LOOPBACK.includes(host)) return undefined;
  return `Expected a token for serving other machines, on ${host}, got none`;
}

export type EdgeOptions = {
  stateFolder?: string;
  /** Other hosts than loopback need a `token`. */
  host?: string;
  /** Default 0: any free port. */
  port?: number;
  /** Required from clients. Without one, everyone on this machine has access, and nobody else. */
  token?: string | undefined;
  /** The Worker's log goes only to `edge.log` in the state folder; default: no lines for requests. */
  quiet?: boolean;
  /** Log a line per request; default: unless `quiet`. */
  logsRequests?: boolean;
  /**
   * Also serve the static pages of wrangler.toml. The platform's router then precedes the Worker, which costs half a
   * millisecond per request; `apiUrl` bypasses it if the edge has no token.
   */
  pages?: boolean;
  /** Memory limit of the isolate; default: the platform's 128. */
  isolateMib?: number;
  /** Hosts from which jobs may read by URL, instead of those in wrangler.toml. */
  sourceHosts?: string | undefined;
  /** Called before the Worker is read, once folder and port are known to be free. */
  prepare?: () => Promise<void>;
  /** Receives a line each time the runtime is restarted; default stderr. */
  report?: (line: string) => void;
};

export type Edge = Running & {
  /** Announces that it is about to close, so that its successor waits. */
  announceEnd(): void;
};

/**
 * Serves the API from the state folder, where objects and datasets are stored. Ends with `close` or with this process,
 * however that ends.
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
        // Persistent beyond this process.
        durableObjectsPersist: join(stateFolder, "objects"),
        r2Persist: join(stateFolder, "buckets"),
      },
      {
        stateFolder,
        host,
        port: own,
        // Without a token everyone on this machine has full access anyway.
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
  /** As in `EdgeOptions`. */
  report?: (line: string) => void;
};

/** The same Worker as a host of trainer objects: its `API` is the edge at `apiUrl`. Keeps no state. */
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
  // Trainers' state outlives a restart of the runtime, but not the host or this process.
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

/** The built Worker with its bindings and access settings; with pages if requested. */
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
 * The port to serve on; 0 if the runtime picks one and reports it. Refuses a used port: the runtime's own error would
 * be less clear, and later.
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
