/**
 * SHA-256 of the bytes of selected tensors while their file is written; in a thread, since it takes as long as
 * quantizing.
 */
import { once } from "node:events";
import { extname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { bytesOfHeads, type PlannedShard } from "../checkpoints/shards.ts";
import type { Digested, NamedStretch } from "./digest-thread.ts";
import type { OnWritten } from "./write-behind.ts";

/** Next to this file, also when bundled. */
const THREAD = join(
  import.meta.dirname,
  `digest-thread${extname(import.meta.filename)}`,
);

export class Digests {
  readonly all = new Map<string, string>();
  readonly #digested: ReadonlySet<string>;
  readonly #thread: Worker;

  constructor(digested: ReadonlySet<string>) {
    this.#digested = digested;
    // The process's own Node options, such as --eval, do not apply to the thread.
    this.#thread = new Worker(THREAD, { execArgv: [] });
  }

  /** Digests a shard's file, whose header has this many bytes. One file at a time. */
  of({ groups }: PlannedShard, fileHeadBytes: number): OnWritten {
    const stretches = groups.map(({ name, heads }): NamedStretch => ({
      name: this.#digested.has(name) ? name : undefined,
      bytes: bytesOfHeads(heads),
    }));
    this.#thread.postMessage([{ bytes: fileHeadBytes }, ...stretches]);
    return async (written) => {
      const back = once(this.#thread, "message") as Promise<[Digested]>;
      this.#thread.postMessage(written, [written.buffer]);
      const [{ chunk, digests }] = await back;
      for (const [name, digest] of digests) this.all.set(name, digest);
      return chunk;
    };
  }

  async end(): Promise<void> {
    await this.#thread.terminate();
  }
}
