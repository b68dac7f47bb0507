/** A run in one of the settings, its trainers, and what their steps have taken so far. */
import { frameBytes } from "../../src/api/frame.ts";
import type { RunConfig } from "../../src/api/run-config.ts";
import { MODEL_PRESETS } from "../../src/cli/train/presets.ts";
import { parameterDtype } from "../../src/training/pulled-parameters.ts";
import { edgePids } from "../edge-processes.ts";
import { median } from "../median.ts";
import { type Stretch, TrainingSite } from "../training-site.ts";
import type { Kernels } from "./kernels.ts";
import { type Linked, openLink } from "./link.ts";
import type { Point, Sample, ScalingEdge } from "./measure.ts";

const SEQUENCES = 2;
const WIRE = "mxfp4-eden";
/** Before any is timed: by then V8 has compiled the kernels as fast as it can. */
const FIRST_MICROBATCHES = 6;
/** At a time. */
const TIMED_MICROBATCHES = 16;

export class SettingSite {
  readonly #point: Point;
  readonly #site: TrainingSite;
  readonly #link: Linked | undefined;
  readonly #stretches: Stretch[] = [];

  private constructor(
    point: Point,
    site: TrainingSite,
    link: Linked | undefined,
  ) {
    this.#point = point;
    this.#site = site;
    this.#link = link;
  }

  static async start(
    { client, url, stateFolder, dataset }: ScalingEdge,
    point: Point,
  ): Promise<SettingSite> {
    const { preset, trainers, shards, microbatches, link } = point;
    const linked = link ? await openLink(url, link) : undefined;
    const site = await TrainingSite.start(client, {
      request: {
        dataset,
        model: MODEL_PRESETS[preset],
        gradientDtype: WIRE,
        sequences: SEQUENCES,
        microbatches,
        shards,
      },
      trainers: Array.from({ length: trainers }, () => 1),
      url: linked?.url ?? url,
      edgePids: edgePids(stateFolder),
    });
    const setting = new SettingSite(point, site, linked);
    try {
      await site.time(
        Math.ceil((FIRST_MICROBATCHES * trainers) / microbatches),
      );
      return setting;
    } catch (error) {
      await setting.end();
      throw error;
    }
  }

  async measure(): Promise<void> {
    const { microbatches } = this.#point;
    const steps = Math.min(4, TIMED_MICROBATCHES / microbatches);
    this.#stretches.push(await this.#site.time(steps));
  }

  async config(): Promise<RunConfig> {
    return (await this.#site.status()).config;
  }

  /** Medians of all steps. */
  async sample(kernels: Kernels): Promise<Omit<Sample, "load" | "cores">> {
    const { trainers, microbatches } = this.#point;
    const { config, parameters } = await this.#site.status();
    const pulledBytes = frameBytes(parameterDtype(config), parameters);
    const phases = this.#stretches.flatMap((each) => each.phases);
    const phase = (key: keyof (typeof phases)[0]) =>
      median(phases.map((each) => each[key] ?? 0));
    const steps = this.#sum(({ steps }) => steps);
    return {
      ...this.#point,
      share:
        phase("pulledBytes") / pulledBytes / Math.min(trainers, microbatches),
      step: median(this.#stretches.flatMap(({ stepSeconds }) => stepSeconds)),
      lease: phase("leaseMs") / 1000,
      pull: phase("pullMs") / 1000,
      compute: phase("computeMs") / 1000,
      push: phase("pushMs") / 1000,
      commit: phase("commitMs") / 1000,
      edgeCpu: this.#sum(({ edge }) => edge) / steps,
      trainersCpu: this.#sum((each) => each.trainers) / steps,
      costs: {
        parameters,
        pulledBytes,
        pushedBytes: frameBytes(config.gradientDtype, parameters),
        ...kernels,
      },
    };
  }

  #sum(of: (stretch: Stretch) => number): number {
    return this.#stretches.reduce((sum, each) => sum + of(each), 0);
  }

  async end(): Promise<void> {
    await this.#site.end();
    this.#link?.close();
  }
}
