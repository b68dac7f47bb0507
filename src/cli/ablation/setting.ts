/**
 * Settings: a base configuration and arms that change parts of it, each trained with every seed. Arms with the same
 * seed have the same initial parameters and tokens, since both follow from the seed.
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

/** What an arm may change. */
type Change = {
  recipe?: Recipe;
  gradientDtype?: WireDtype;
  optimizer?: Partial<OptimizerConfig>;
};

export type Arm = { name: string; change: Change };

/** The configuration shared by a setting's arms. */
export type Base = {
  preset: ModelPreset;
  /** Default: GPT-2. */
  arch?: ModelShape["arch"];
  steps: number;
  /** Microbatches per step, and sequences per microbatch. */
  microbatches: number;
  sequences: number;
  recipe: Recipe;
  gradientDtype: WireDtype;
  optimizer: Partial<OptimizerConfig>;
  /** Prefix of the text that is used; 0 for all. */
  textBytes: number;
};

export type Setting = {
  name: string;
  /** Texts for the page. */
  title: string;
  about: string;
  base: Base;
  arms: readonly Arm[];
  /** Name of the arm to which gaps are measured. */
  baseline: string;
  /** Name of a second arm for comparison; may be the same. */
  incumbent: string;
};

/** A run to train. Its key identifies everything that its losses depend on. */
export type Trial = {
  key: string;
  request: RunRequest & { steps: number; seed: number };
  textBytes: number;
  /** Estimated duration: tokens × layers × width², about the multiply-adds of the matrices. */
  work: number;
};

const EVALUATIONS = 16;

/** `world`: what else the losses depend on: the text, and the machine's fingerprint. */
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

/** The distinct runs of all settings; all arms of a seed before the next seed. */
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

/** The complete optimizer without values that it ignores. */
function told(optimizer: Partial<OptimizerConfig>): Partial<OptimizerConfig> {
  const { momentum, ...rest } = completeOptimizer(optimizer);
  return OPTIMIZERS[rest.name].matrices === "muon"
    ? { ...rest, momentum }
    : rest;
}
