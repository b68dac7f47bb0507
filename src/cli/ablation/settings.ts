/** The settings of docs/ablation.md, and the quick one. */
import type { Recipe } from "../../api/recipe.ts";
import type { WireDtype } from "../../api/run-config.ts";
import type { Arm, Base, Setting } from "./setting.ts";

/** As of Jordan et al.; the defaults may be better (setting `rates`). */
const MUON = {
  name: "muon",
  learningRate: 0.008,
  matrixLearningRate: 0.02,
  momentum: 0.95,
} as const;
const TINY: Base = {
  preset: "tiny",
  steps: 800,
  microbatches: 4,
  sequences: 2,
  recipe: "mxfp4-rht-sr",
  gradientDtype: "mxfp4",
  optimizer: MUON,
  textBytes: 0,
};
const PAPER = "mxfp4-rht-sr";

const recipes = (...names: Recipe[]): Arm[] =>
  names.map((recipe) => ({ name: recipe, change: { recipe } }));

const wire = (recipe: Recipe, ...dtypes: WireDtype[]): Arm[] =>
  dtypes.map((gradientDtype) => ({
    name: `${recipe}, ${gradientDtype} on the wire`,
    change: { recipe, gradientDtype },
  }));

const rates = (...pairs: [matrixLearningRate: number, momentum: number][]) =>
  pairs.map(([matrixLearningRate, momentum]): Arm => {
    const name = `rate ${matrixLearningRate}, momentum ${momentum}`;
    return { name, change: { optimizer: { matrixLearningRate, momentum } } };
  });

export const SETTINGS: readonly Setting[] = [
  {
    name: "muon",
    title: "Recipes under Muon",
    about:
      "Preset `tiny` on Moby Dick, 800 steps of 1,024 tokens (4 microbatches of 2 sequences of 128), gradients sent in `mxfp4`; learning rate 0.02, momentum 0.95.",
    base: TINY,
    arms: recipes(
      "bf16",
      "mxfp4",
      "mxfp4-rht",
      "mxfp4-sr",
      "mxfp4-rht-sr",
      "mxfp4-rht32-sr",
      "mxfp4-rht128-sr",
      "mxfp4-rht-sr-dy",
      "mxfp4-rht-pma",
      "mxfp4-rht-eden",
      "int6-mxfp4-rht-sr",
      "int6-mxfp4-rht-eden",
      "mxfp4-full",
    ),
    baseline: "bf16",
    incumbent: PAPER,
  },
  {
    name: "adamw",
    title: "Recipes under AdamW",
    about:
      "The same with `--optimizer adamw`: 50 steps of warm-up to a learning rate of 0.008, then linearly to 0. Here seeds differ so much that only `mxfp4` stands out.",
    base: { ...TINY, optimizer: { name: "adamw" } },
    arms: recipes("bf16", "mxfp4", "mxfp4-sr", PAPER),
    baseline: "bf16",
    incumbent: PAPER,
  },
  {
    name: "epochs",
    title: "Several epochs",
    about:
      "Only the first 204,800 bytes of the text instead of 1,204,997, so 4.2 epochs; with Muon.",
    base: { ...TINY, textBytes: 204_800 },
    arms: recipes("bf16", "mxfp4", PAPER, "mxfp4-rht-eden"),
    baseline: "bf16",
    incumbent: PAPER,
  },
  {
    name: "wire",
    title: "Gradients on the wire",
    about:
      "The format in which gradients are sent, with the backward pass in bf16 and in MXFP4. A step averages 4 microbatches.",
    base: TINY,
    arms: [
      ...wire("bf16", "f32", "mxfp4", "mxfp4-eden"),
      ...wire("mxfp4-rht-eden", "mxfp4", "mxfp4-eden"),
    ],
    baseline: "bf16, f32 on the wire",
    incumbent: "bf16, mxfp4 on the wire",
  },
  {
    name: "rates",
    title: "Muon's rate and momentum",
    about:
      "The paper's recipe (`mxfp4-rht-sr`) with other values of `--matrix-learning-rate` and `--momentum`.",
    base: TINY,
    arms: rates([0.02, 0.95], [0.03, 0.95], [0.02, 0.9], [0.03, 0.9]),
    baseline: "rate 0.02, momentum 0.95",
    incumbent: "rate 0.02, momentum 0.95",
  },
];

/**
 * Takes ten minutes on two cores; only the recipe is in four bits. The seed changes a run's loss as much as the recipe
 * does, so there are many seeds of short runs, compared within each seed. The batch size separates all four: with fewer
 * sequences per step, nearest and stochastic rounding are equal; with more, rotation makes no difference.
 */
export const QUICK: Setting = {
  name: "quick",
  title: "The paper's four recipes, quickly",
  about:
    "Preset `nano`, 160 steps of one microbatch of 48 sequences, gradients sent in bf16; Muon with learning rate 0.03, momentum 0.9.",
  base: {
    ...TINY,
    preset: "nano",
    steps: 160,
    microbatches: 1,
    sequences: 48,
    gradientDtype: "bf16",
    optimizer: { ...MUON, matrixLearningRate: 0.03, momentum: 0.9 },
  },
  arms: recipes("bf16", "mxfp4", "mxfp4-sr", PAPER),
  baseline: "bf16",
  incumbent: PAPER,
};
export const QUICK_SEEDS = 15;
