/**
 * A lane trains runs one after another: an edge, and a trainer in a thread, as `npm run train -- --threads 1`. It keeps
 * about one core busy, since trainer and shards wait for each other.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { Client } from "../../client/client.ts";
import { type Edge, startEdge } from "../../local/edge.ts";
import type { RunEvent, StepMetrics } from "../../api/run-metrics.ts";
import { follow } from "../follow.ts";
import {
  type JoinedThreads,
  joinThreads,
  trainerNames,
} from "../joined-threads.ts";
import type { Trial } from "./setting.ts";

/** Called with the number of committed steps. */
export type NoteStep = (step: number) => void;

export class Lane {
  readonly #edge: Edge;
  readonly #report: (line: string) => void;
  #trainer: JoinedThreads | undefined;

  private constructor(edge: Edge, report: (line: string) => void) {
    this.#edge = edge;
    this.#report = report;
  }

  /** `stateFolder` is cleared at the start. */
  static async start(
    stateFolder: string,
    report: (line: string) => void,
  ): Promise<Lane> {
    const edge = await startEdge({
      stateFolder,
      quiet: true,
      report,
      prepare: async () => {
        for (const name of ["objects", "buckets"]) {
          rmSync(join(stateFolder, name), { recursive: true, force: true });
        }
      },
    });
    return new Lane(edge, report);
  }

  /** Trains a run on `text`; returns its metrics, once it has finished or diverged. */
  run(
    trial: Trial,
    text: Uint8Array<ArrayBuffer>,
    note: NoteStep,
  ): Promise<{ metrics: StepMetrics[]; valLoss: number | null }> {
    return Promise.race([this.#make(trial, text, note), this.#edge.lost]);
  }

  async #make(
    { request }: Trial,
    text: Uint8Array<ArrayBuffer>,
    note: NoteStep,
  ): Promise<{ metrics: StepMetrics[]; valLoss: number | null }> {
    const address = { baseUrl: this.#edge.url, token: undefined };
    const client = new Client(address);
    await client.putDataset(request.dataset, new Blob([text]));
    const run = client.run((await client.createRun(request)).run);
    this.#trainer = joinThreads(
      { ...address, run: run.run },
      trainerNames("lane", 1),
      () => {},
      this.#report,
    );
    const progress = {
      event: (event: RunEvent) =>
        event.type === "step" && note(event.metrics.step + 1),
    };
    const [state] = await Promise.all([
      follow(run, [progress]),
      this.#trainer.ended,
    ]);
    const [metrics, { valLoss }] = await Promise.all([
      run.metrics(),
      run.status(),
    ]);
    await run.remove();
    return { metrics, valLoss: state === "finished" ? valLoss : null };
  }

  async close(): Promise<void> {
    this.#trainer?.leave();
    await this.#trainer?.ended.catch(() => {});
    await this.#edge.close();
  }
}
