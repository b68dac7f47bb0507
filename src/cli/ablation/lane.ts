/**
 * One place where runs are made, one after another: an edge and a process with a trainer, the same that `npm
 * run train` starts. A lane keeps about one core busy, since trainer and shards wait for each other.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { Client } from "../../client/client.ts";
import {
  type Edge,
  type Running,
  startEdge,
  startTrainerHost,
} from "../../local/edge.ts";
import type { RunEvent, StepMetrics } from "../../api/run-metrics.ts";
import { follow } from "../follow.ts";
import type { Trial } from "./setting.ts";

/** Of the last step that was committed. */
export type NoteStep = (step: number) => void;

export class Lane {
  readonly #edge: Edge;
  readonly #host: Running;

  private constructor(edge: Edge, host: Running) {
    this.#edge = edge;
    this.#host = host;
  }

  /** Nothing in `stateFolder` outlives a lane. */
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
    try {
      const apiUrl = edge.url;
      return new Lane(
        edge,
        await startTrainerHost({ apiUrl, stateFolder, report }),
      );
    } catch (error) {
      await edge.close();
      throw error;
    }
  }

  /** Make a run over `text`; its metrics, once it has finished or diverged. */
  run(
    trial: Trial,
    text: Uint8Array<ArrayBuffer>,
    note: NoteStep,
  ): Promise<{ metrics: StepMetrics[]; valLoss: number | null }> {
    const { lost } = this.#edge;
    return Promise.race([this.#make(trial, text, note), lost, this.#host.lost]);
  }

  async #make(
    { request }: Trial,
    text: Uint8Array<ArrayBuffer>,
    note: NoteStep,
  ): Promise<{ metrics: StepMetrics[]; valLoss: number | null }> {
    const client = new Client({ baseUrl: this.#edge.url });
    await client.putDataset(request.dataset, new Blob([text]));
    const run = client.run((await client.createRun(request)).run);
    await new Client({ baseUrl: this.#host.url }).run(run.run).addTrainers(1);
    const progress = {
      event: (event: RunEvent) =>
        event.type === "step" && note(event.metrics.step + 1),
    };
    const state = await follow(run, [progress]);
    const [metrics, { valLoss }] = await Promise.all([
      run.metrics(),
      run.status(),
    ]);
    await run.remove();
    return { metrics, valLoss: state === "finished" ? valLoss : null };
  }

  async close(): Promise<void> {
    await Promise.all([this.#host.close(), this.#edge.close()]);
  }
}
