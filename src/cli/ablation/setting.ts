/**
 * What is compared: settings, each a run that stays the same but for what its arms change, with every seed.
 * Arms of one seed begin with the same parameters and see the same tokens, since both follow from the seed.
 */
import { hash } from "node:crypto";
import {
  completeOptimizer,
  type OptimizerConfig,
  OPTIMIZERS,
} from "../../api/optimizer.ts";
import type { Recipe } from "../../api/recipe.ts";
import type {
  ModelShape,
  RunRequest,
  WireDtype,
} from "../../api/run-config.ts";
import { MODEL_PRESETS, type ModelPreset } from "../train/presets.ts";

/** What one arm may change. */
type Change = {
  recipe?: Recipe;
  gradientDtype?: WireDtype;
  optimizer?: Partial<OptimizerConfig>;
};

export type Arm = { name: string; change: Change };

/** What a setting's arms have in common. */
export type Base = {
  preset: ModelPreset;
  /** A GPT-2 unless told. */
  arch?: ModelShape["arch"];
  steps: number;
  /** Parts of a step, and sequences of a part. */
  microbatches: number;
  sequences: number;
  recipe: Recipe;
  gradientDtype: WireDtype;
  optimizer: Partial<OptimizerConfig>;
  /** Of the text, from its start; 0 for all. */
  textBytes: number;
};

export type Setting = {
  name: string;
  /** What the page says of it. */
  title: string;
  about: string;
  base: Base;
  arms: readonly Arm[];
  /** The name of the arm from which gaps are measured. */
  baseline: string;
  /** The name of the arm that the others are judged against besides, if one is there. */
  incumbent: string;
};

/** One run to make. Its key names all that its losses follow from. */
export type Trial = {
  key: string;
  request: RunRequest & { steps: number; seed: number };
  textBytes: number;
  /** Multiply-adds of the matrices, as far as they tell how long it takes. */
  work: number;
};

const EVALUATIONS = 16;

/** `world` is what the same request would give other losses in: the text, and how the machine computes. */
export function trialOf(
  { base }: Setting,
  arm: Arm,
  seed: number,
  world: string,
): Trial {
  const { textBytes, preset, arch, optimizer, ...rest } = {
    ...base,
    ...arm.change,
  };
  const { steps, microbatches, sequences } = base;
  const model = { arch, ...MODEL_PRESETS[preset] };
  const request = {
    ...rest,
    dataset: textBytes === 0 ? "text" : `text-${textBytes}`,
    model,
    seed,
    optimizer: { ...base.optimizer, ...optimizer },
    evaluation: {
      interval: Math.max(1, Math.round(steps / EVALUATIONS)),
      microbatches: 8,
    },
  };
  const whole = { ...request, optimizer: told(request.optimizer) };
  const key = hash("sha256", JSON.stringify([world, whole])).slice(0, 16);
  const { layers, width, context } = model;
  const tokens = steps * microbatches * sequences * context;
  return { key, request, textBytes, work: tokens * layers * width ** 2 };
}

/** Every run of the settings once, though several may want it; all arms of a seed before the next seed. */
export function trialsOf(
  settings: readonly Setting[],
  seeds: number,
  world: string,
): Trial[] {
  const trials = new Map<string, Trial>();
  for (let seed = 0; seed < seeds; seed++) {
    for (const setting of settings) {
      for (const arm of setting.arms) {
        const trial = trialOf(setting, arm, seed, world);
        trials.set(trial.key, trial);
      }
    }
  }
  return [...trials.values()];
}

/** All that an optimizer has, but for what it has no use for. */
function told(optimizer: Partial<OptimizerConfig>): Partial<OptimizerConfig> {
  const { momentum, ...rest } = completeOptimizer(optimizer);
  return OPTIMIZERS[rest.name].matrices === "muon"
    ? { ...rest, momentum }
    : rest;
}
