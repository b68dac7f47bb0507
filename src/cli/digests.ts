/**
 * SHA-256 of the bytes that stand for each tensor that is to have one, as its file is written; made in a thread, for
 * it takes as long as quantizing does.
 */
import { once } from "node:events";
import { extname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { bytesOfHeads, type PlannedShard } from "../checkpoints/shards.ts";
import type { Digested, NamedStretch } from "./digest-thread.ts";
import type { OnWritten } from "./write-behind.ts";

/** Beside this file, and built so too. */
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
    // The command's own options of Node, such as --eval's, are nothing to a file.
    this.#thread = new Worker(THREAD, { execArgv: [] });
  }

  /** Those of a shard's file, whose head has so many bytes. One file after the other. */
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
