/** Prints samples with a running run's current parameters. */
import pc from "picocolors";
import type { RunEvent } from "../../api/run-metrics.ts";
import type { RunClient } from "../../client/run-client.ts";
import { textOf } from "../local-text.ts";
import { readCheckpoint } from "../../training/checkpoint.ts";
import type { Progress } from "../progress.ts";

const OPTIONS = { prompt: "The ", maxTokens: 60, temperature: 0.8, topK: 40 };

export class RunningSamples {
  readonly #run: RunClient;
  readonly #every: number;
  readonly #progress: Progress;
  readonly #stopping = new AbortController();
  #isWriting = false;

  /** `every`: in steps; 0 for never. */
  constructor(run: RunClient, every: number, progress: Progress) {
    this.#run = run;
    this.#every = every;
    this.#progress = progress;
  }

  /** Starts a sample in the background; steps until it is done have none. */
  event(event: RunEvent): void {
    if (event.type !== "step" || this.#every === 0 || this.#isWriting) return;
    const step = event.metrics.step + 1;
    if (step % this.#every !== 0) return;
    this.#isWriting = true;
    this.#write()
      .catch((error: unknown) => {
        // The run may have ended; a failed sample does not affect it.
        if (!this.#stopping.signal.aborted)
          this.#progress.warn(pc.yellow(`no sample: ${String(error)}`));
      })
      .finally(() => (this.#isWriting = false));
  }

  /** Stops, also a sample in progress. */
  stop(): void {
    this.#stopping.abort();
  }

  async #write(): Promise<void> {
    const { signal } = this.#stopping;
    const response = await this.#run.checkpoint();
    const file = new Uint8Array(await response.arrayBuffer());
    const text = await textOf(file, { ...OPTIONS, signal });
    if (signal.aborted) return;
    const { step } = readCheckpoint(file);
    this.#progress.line(`step ${step}  ${pc.dim(JSON.stringify(text))}`);
  }
}
