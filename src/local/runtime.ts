/**
 * A supervised workerd, run by Miniflare. Miniflare itself restarts a workerd that dies, but not one that dies again
 * during the restart; this one is restarted, at the same URL, as often as necessary.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { isIPv6 } from "node:net";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Miniflare } from "miniflare";
import { guardRuntimes, temporaryFolder } from "./processes.ts";

const MAX_LOG_BYTES = 4 * 1024 * 1024;
/** Delay before a restart: 50 ms, doubling. */
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 2_000;
/** A runtime that does not start within this time is given up. Clients retry for as long. */
const GIVE_UP_MS = 60_000;

/** A start takes a tenth of this, on a busy machine. */
const START_MS = 3_000;

export type Running = {
  /** Without a trailing slash. */
  url: string;
  /** The same without the router before the Worker, if possible. */
  apiUrl: string;
  /** Rejects when the runtime has died and cannot be restarted. */
  lost: Promise<never>;
  close(): Promise<void>;
};

export type RuntimeOptions = {
  /** Name of its log file, and in reports. */
  name: string;
  stateFolder: string;
  host: string;
  /** 0 for any free port, on hosts where `tellsPort`. */
  port: number;
  /**
   * Whether requests reach the Worker directly: Miniflare's own socket has a Worker before it, which costs some tenths
   * of a millisecond per request and compresses answers. The direct socket also speaks a protocol that gives full
   * access.
   */
  isDirect: boolean;
  /**
   * A further entrypoint of the Worker, served on its own port: with pages, requests to `url` pass through the assets
   * router and another Worker. Only if direct.
   */
  apiEntrypoint?: string | undefined;
  /** Write the Worker's log to a file only, not to stderr too. */
  quiet: boolean;
  /** Receives a line each time the runtime is restarted. */
  report: (line: string) => void;
};

/** For other hosts, Miniflare opens another socket for itself, and reports the port of that. */
const TOLD_HOSTS = ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::"];

/** Whether a runtime on this host reports the port it picked. */
export function tellsPort(host: string): boolean {
  return TOLD_HOSTS.includes(host);
}

/** Miniflare's own type needs a package that is not installed. */
type MiniflareSettings = Record<string, unknown>;

export async function startRuntime(
  worker: MiniflareSettings,
  options: RuntimeOptions,
): Promise<Running> {
  const { name, stateFolder, host, isDirect, quiet, report } = options;
  const entrypoint = isDirect ? options.apiEntrypoint : undefined;
  const guard = guardRuntimes(stateFolder);
  // Loading takes a third of a second, which a command that only shows its help should not wait for.
  const { Log, LogLevel, Miniflare } = await import("miniflare");
  const log = openLog(join(stateFolder, `${name}.log`), quiet, report);
  const life = new Life();
  const settings = {
    ...worker,
    ...guard,
    cf: false, // otherwise it is downloaded
    telemetry: { enabled: false },
    log: new Log(LogLevel.NONE),
    handleRuntimeStdio: (stdout: Readable, stderr: Readable) => {
      stdout.on("data", (chunk: Buffer) => log.write(chunk));
      stderr.on("data", (chunk: Buffer) => log.write(chunk));
      life.begin(stdout);
      if (life.count > 1) report(`${name}: its runtime ended; started again`);
    },
  };
  const start = (port: number, apiPort = 0): Miniflare => {
    const started = withTemporaryFolder(
      temporaryFolder(stateFolder),
      () =>
        new Miniflare({
          ...settings,
          ...(isDirect
            ? {
                unsafeDirectSockets: [
                  { host, port },
                  ...(entrypoint ? [{ host, port: apiPort, entrypoint }] : []),
                ],
              }
            : { host, port }),
        }),
    );
    started.ready.catch(() => undefined); // awaited below, but not immediately
    return started;
  };
  let miniflare = start(options.port);
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= end(miniflare).finally(() => log.close()));
  try {
    const ready = await miniflare.ready;
    const own = isDirect
      ? await miniflare.unsafeGetDirectURL()
      : tellsPort(host)
        ? ready
        : new URL(
            `http://${isIPv6(host) ? `[${host}]` : host}:${options.port}`,
          );
    const api = entrypoint
      ? await miniflare.unsafeGetDirectURL(undefined, entrypoint)
      : own;
    const lost = keepAlive(life, {
      isClosing: () => closing !== undefined,
      isReady: () => settles(miniflare.ready),
      replace: async () => {
        await end(miniflare);
        miniflare = start(Number(own.port), Number(api.port));
      },
    });
    // Avoids an unhandled rejection if the caller does not use it.
    lost.catch(() => undefined);
    return { url: own.origin, apiUrl: api.origin, lost, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Whether the promise resolves in time. If workerd ends before it has read its configuration, Miniflare waits forever.
 */
async function settles(promise: Promise<unknown>): Promise<boolean> {
  return Promise.race([
    promise.then(
      () => true,
      () => false,
    ),
    sleep(START_MS, false, { ref: false }),
  ]);
}

/** Afterwards its workerd has ended: where Miniflare waits forever, there is none. */
async function end(miniflare: Miniflare): Promise<void> {
  await settles(miniflare.dispose());
}

/** The successive processes of one Miniflare. */
class Life {
  count = 0;
  isUp = false;
  #onEnd: () => void = () => undefined;

  /** A process was started; its stdout ends with it. */
  begin(stdout: Readable): void {
    const own = ++this.count;
    this.isUp = true;
    stdout.once("end", () => {
      if (own !== this.count) return; // its successor has started already
      this.isUp = false;
      this.#onEnd();
    });
  }

  /** Resolves once the present process has ended. */
  async ended(): Promise<void> {
    if (!this.isUp) return;
    await new Promise<void>((resolve) => (this.#onEnd = resolve));
  }
}

/** Restarts the runtime each time it ends; rejects once that fails for too long. */
async function keepAlive(
  life: Life,
  runtime: {
    isClosing(): boolean;
    isReady(): Promise<boolean>;
    replace(): Promise<void>;
  },
): Promise<never> {
  for (;;) {
    await life.ended();
    const endedMs = Date.now();
    for (let attempt = 0; ; attempt++) {
      await sleep(Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt));
      if (runtime.isClosing()) return new Promise<never>(() => undefined);
      // Miniflare's own restart may be in progress; it fails if that process dies too.
      if ((await runtime.isReady()) && life.isUp) break;
      if (Date.now() - endedMs > GIVE_UP_MS) {
        throw new Error(
          `Expected the runtime to come back within ${GIVE_UP_MS / 1000} s, and it ended at each of ${attempt} starts`,
        );
      }
      if (!runtime.isClosing()) await runtime.replace();
    }
  }
}

/** Miniflare creates its temporary folder in its constructor, where TMPDIR says. */
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

/**
 * The runtime's output, in a file that is truncated at each start and limited to 4 MiB. If the disk is full, a report
 * says so, and training continues.
 */
function openLog(
  path: string,
  quiet: boolean,
  report: (line: string) => void,
): { write(chunk: Buffer): void; close(): void } {
  const file = openSync(path, "w");
  let left = MAX_LOG_BYTES;
  return {
    write(chunk) {
      if (!quiet) process.stderr.write(chunk);
      if (left <= 0) return;
      try {
        left -= writeSync(file, chunk.subarray(0, left));
      } catch (error) {
        left = 0;
        report(`${path} ends here: ${(error as Error).message}`);
      }
    },
    close: () => {
      left = 0; // a last line may still be on its way
      closeSync(file);
    },
  };
}
