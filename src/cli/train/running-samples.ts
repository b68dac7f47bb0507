/** Now and then, while a run goes on, what its parameters of the moment write. */
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

  /** `every` so many steps; never when 0. */
  constructor(run: RunClient, every: number, progress: Progress) {
    this.#run = run;
    this.#every = every;
    this.#progress = progress;
  }

  /** Begins a sample, which goes on beside the run; a step that comes before its end has none. */
  event(event: RunEvent): void {
    if (event.type !== "step" || this.#every === 0 || this.#isWriting) return;
    const step = event.metrics.step + 1;
    if (step % this.#every !== 0) return;
    this.#isWriting = true;
    this.#write()
      .catch((error: unknown) => {
        // A run's end may come first; the run itself is not hurt.
        if (!this.#stopping.signal.aborted)
          this.#progress.warn(pc.yellow(`no sample: ${String(error)}`));
      })
      .finally(() => (this.#isWriting = false));
  }

  /** No more, and none that is half done. */
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
