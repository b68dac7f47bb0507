/**
 * One workerd, run by Miniflare and watched here. Miniflare starts a workerd that dies once more, but
 * not one that dies again while it starts; this one comes back, at the same URL, as often as it takes.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { isIPv6 } from "node:net";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Miniflare } from "miniflare";
import { guardRuntimes, temporaryFolder } from "./processes.ts";

const MAX_LOG_BYTES = 4 * 1024 * 1024;
/** Pauses before the starts that follow one end: 50 ms, doubling. */
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 2_000;
/** A runtime that has not come up in so long never will. Clients are patient for as long. */
const GIVE_UP_MS = 60_000;

/** A start takes a tenth of it, on a machine that has much else to do. */
const START_MS = 3_000;

export type Running = {
  /** Without a slash at the end. */
  url: string;
  /** The same without what stands before the Worker, where there is such a way. */
  apiUrl: string;
  /** Rejects when the runtime has died and does not come back. */
  lost: Promise<never>;
  close(): Promise<void>;
};

export type RuntimeOptions = {
  /** Of its log file, and in what is reported of it. */
  name: string;
  stateFolder: string;
  host: string;
  /** 0 takes a free one, on a host where `tellsPort`. */
  port: number;
  /**
   * Whether requests reach the Worker itself: Miniflare's own socket has a Worker before it, which costs each request some
   * tenths of a millisecond and compresses answers. What the direct one speaks besides HTTP is for whoever may do all.
   */
  isDirect: boolean;
  /**
   * An entrypoint of the Worker that is served besides, on a port of its own: with pages, requests by `url` pass the router
   * that looks for those, and one more Worker. Only where requests are direct.
   */
  apiEntrypoint?: string | undefined;
  /** What the Worker logs goes to a file only, not to stderr too. */
  quiet: boolean;
  /** Gets a line for each time that the runtime is started again. */
  report: (line: string) => void;
};

/** For any other host Miniflare serves itself on a socket apart, and tells the port of that. */
const TOLD_HOSTS = ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::"];

/** Whether a runtime on this host tells which port it has taken. */
export function tellsPort(host: string): boolean {
  return TOLD_HOSTS.includes(host);
}

/** Miniflare's own type for it needs a package that it does not bring along, so it checks nothing. */
type MiniflareSettings = Record<string, unknown>;

export async function startRuntime(
  worker: MiniflareSettings,
  options: RuntimeOptions,
): Promise<Running> {
  const { name, stateFolder, host, isDirect, quiet, report } = options;
  const entrypoint = isDirect ? options.apiEntrypoint : undefined;
  const guard = guardRuntimes(stateFolder);
  // It takes a third of a second to load, which a command that only shows its help has no use for.
  const { Log, LogLevel, Miniflare } = await import("miniflare");
  const log = openLog(join(stateFolder, `${name}.log`), quiet, report);
  const life = new Life();
  const settings = {
    ...worker,
    ...guard,
    cf: false, // it would be fetched
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
    started.ready.catch(() => undefined); // asked for again, but not at once
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
    // Whoever does not ask is not told.
    lost.catch(() => undefined);
    return { url: own.origin, apiUrl: api.origin, lost, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Whether it resolves, and in time. A Miniflare whose workerd ends before it has read its
 * configuration waits for that for ever.
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

/** Its workerd is dead afterwards: where Miniflare waits for ever, there is none. */
async function end(miniflare: Miniflare): Promise<void> {
  await settles(miniflare.dispose());
}

/** The processes of one Miniflare, one after another. */
class Life {
  count = 0;
  isUp = false;
  #onEnd: () => void = () => undefined;

  /** A process was started; its pipe ends with it. */
  begin(stdout: Readable): void {
    const own = ++this.count;
    this.isUp = true;
    stdout.once("end", () => {
      if (own !== this.count) return; // the next one is there already
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

/** Brings the runtime back each time that it ends; rejects once that is hopeless. */
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
      // Miniflare's own start may be under way. It fails if this process dies, too.
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

/**
 * What the runtime prints, to a file that starts anew each time and stops at 4 MiB, or, as it says, where the disk takes
 * no more: nobody's training ends for that.
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
