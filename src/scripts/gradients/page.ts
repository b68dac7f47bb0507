/** docs/gradients.md and its charts, of what was measured. */
import type { Recipe } from "../../api/recipe.ts";
import { lineChart } from "../../cli/chart/line-chart.ts";
import type { DotVariance } from "./dot-variance.ts";
import type { CheckpointConfig } from "../../training/checkpoint.ts";
import {
  type GradientErrors,
  type GradientName,
  GRADIENTS,
  type LayerErrors,
} from "../../training/layer-errors.ts";
import type { ZeroedShares } from "../../training/zeroed-codes.ts";

export type MeasuredLayer = {
  name: string;
  zeroed: ZeroedShares;
  errors: Partial<Record<Recipe, LayerErrors>>;
};

export type DotPoint = {
  length: number;
  outlierShare: number;
  isRotated: boolean;
} & DotVariance;

export type Measured = {
  /** What was measured on, in a sentence. */
  subject: string;
  recipes: readonly Recipe[];
  draws: number;
  layers: readonly MeasuredLayer[];
  dots: readonly DotPoint[];
};

/** Of which every layer is shown. */
const SHOWN: readonly Recipe[] = ["mxfp4", "mxfp4-rht-sr", "mxfp4-rht-eden"];

/** The sentence that tells the model and the batch. */
export function measuredOn(
  { model, optimizer, recipe, sequences }: CheckpointConfig,
  step: number,
  isOwnText: boolean,
): string {
  const kind = model.arch === "llama" ? "Llama" : "GPT";
  const text = isOwnText
    ? "its training text"
    : "another text than it was trained on";
  return `The model is a ${kind} of ${model.layers} layers of width ${model.width} after ${step} steps with ${optimizer.name} (recipe \`${recipe}\`); the batch is ${sequences} sequences of ${model.context} tokens of ${text}.`;
}

export function gradientsPage(measured: Measured): string {
  const { subject, draws, layers, dots } = measured;
  return `# Gradients

How close the gradients of each recipe's linear layers are to those of f32. ${subject} Each layer gets the x, dY and W of an f32 pass,
so it has no errors of other layers. \`npm run gradients\` measures this again and writes this page. A draw is one gradient, with one choice of signs and rounding noise.

- **cosine**: between one draw and the f32 gradient. **slope**: ⟨mean, f32⟩ / ⟨f32, f32⟩ for the mean of ${draws} draws; below 1, the recipe shrinks gradients.
- **error**: ‖draw − f32‖² / ‖f32‖². Without bias, the error of a mean of n independent draws falls as 1/n, so
  **n · error of the mean / error** is 1. Above 1, at n = ${draws}, there is a bias that averaging does not remove.
- **norm to noise**: ‖f32‖ / (√3 · ‖draw − f32‖). Below about 1, steps consist of noise and training stalls (_FP4 All the Way_, arXiv
  2505.19115).

${GRADIENTS.map((name) => byRecipe(measured, name)).join("\n")}
![Error of the mean of n draws, dW](gradients/mean-dW.svg)

![Error of the mean of n draws, dX](gradients/mean-dX.svg)

## By layer

${byLayer(layers)}

## Codes that become zero

The share of non-zero elements of dY (in blocks along the output features) that round to zero.

${table(
  ["", "nearest", "RHT, nearest", "RHT, stochastic"],
  layers.map(({ name, zeroed }) => [
    name,
    percent(zeroed.nearest),
    percent(zeroed.rotatedNearest),
    percent(zeroed.rotatedStochastic),
  ]),
)}

## Variance of a dot product

Figure 2 of _Training LLMs with MXFP4_: the variance of Q(A)ᵀ · Q(B) under Algorithm 2. A and B are vectors of b values of N(0, 1), to each of which a value of
N(0, 5) is added with probability p. Measured with the kernels, over 256 draws for each of 256 pairs; the formula is exact
([dot-variance.ts](../src/scripts/gradients/dot-variance.ts)).

${table(
  ["p", "b", "plain", "formula", "RHT", "formula", "RHT to plain"],
  dots
    .filter(({ isRotated }) => !isRotated)
    .map((plain) => {
      const rotated = dots.find(
        (each) =>
          each.isRotated &&
          each.length === plain.length &&
          each.outlierShare === plain.outlierShare,
      )!;
      return [
        `${plain.outlierShare}`,
        `${plain.length}`,
        plain.measured.toPrecision(4),
        plain.exact.toPrecision(4),
        rotated.measured.toPrecision(4),
        rotated.exact.toPrecision(4),
        (rotated.exact / plain.exact).toFixed(3),
      ];
    }),
)}

![Variance by length](gradients/dot-variance.svg)
`;
}

function byRecipe(
  { recipes, layers, draws }: Measured,
  gradient: GradientName,
): string {
  const title = gradient === "dX" ? "dX = dY · Wᵀ" : "dW = xᵀ · dY";
  const rows = recipes.map((recipe) => {
    const errors = meanOver(layers, recipe, gradient);
    const ratio = (draws * errors.ofMean.at(-1)!) / errors.oneDraw;
    return [
      `\`${recipe}\``,
      errors.cosine.toFixed(4),
      errors.slope.toFixed(4),
      errors.oneDraw.toPrecision(3),
      errors.ofMean.at(-1)!.toPrecision(3),
      ratio.toPrecision(3),
      monitor(errors).toFixed(1),
    ];
  });
  return `## ${title}

Means over the ${layers.length} layers.

${table(["", "cosine", "slope", "error", `of the mean of ${draws}`, "n · error of the mean / error", "norm to noise"], rows)}
`;
}

function byLayer(layers: readonly MeasuredLayer[]): string {
  const head = SHOWN.flatMap((recipe) =>
    GRADIENTS.map((gradient) => `${recipe}, ${gradient}`),
  );
  return `Cosine / slope.

${table(
  ["", ...head],
  layers.map(({ name, errors }) => [
    name,
    ...SHOWN.flatMap((recipe) =>
      GRADIENTS.map((gradient) => {
        const { cosine, slope } = errors[recipe]![gradient];
        return `${cosine.toFixed(4)} / ${slope.toFixed(4)}`;
      }),
    ),
  ]),
)}`;
}

function meanOver(
  layers: readonly MeasuredLayer[],
  recipe: Recipe,
  gradient: GradientName,
): GradientErrors {
  const all = layers.map(({ errors }) => errors[recipe]![gradient]);
  const mean = (of: (each: GradientErrors) => number) =>
    all.reduce((sum, each) => sum + of(each), 0) / all.length;
  return {
    cosine: mean(({ cosine }) => cosine),
    slope: mean(({ slope }) => slope),
    oneDraw: mean(({ oneDraw }) => oneDraw),
    ofMean: all[0]!.ofMean.map((_, i) => mean(({ ofMean }) => ofMean[i]!)),
  };
}

function monitor({ oneDraw }: GradientErrors): number {
  return 1 / Math.sqrt(3 * oneDraw);
}

export function gradientsCharts(measured: Measured): Record<string, string> {
  const { recipes, layers, dots } = measured;
  const meanChart = (gradient: GradientName) =>
    lineChart({
      title: `${gradient}: error of the mean of n draws`,
      x: "n",
      y: "‖mean − f32‖² / ‖f32‖²",
      lines: recipes
        .map((recipe) => ({
          name: recipe,
          points: meanOver(layers, recipe, gradient).ofMean.map(
            (error, i) => [2 ** i, error] as const,
          ),
        }))
        .sort((a, b) => b.points.at(-1)![1] - a.points.at(-1)![1]),
      logX: true,
      logY: true,
    });
  const shares = [...new Set(dots.map(({ outlierShare }) => outlierShare))];
  const lines = shares.flatMap((share) =>
    [false, true].map((isRotated) => ({
      name: `p = ${share}, ${isRotated ? "RHT" : "plain"}`,
      points: dots
        .filter(
          (each) => each.outlierShare === share && each.isRotated === isRotated,
        )
        .map(({ length, measured: variance }) => [length, variance] as const),
      dashed: isRotated,
    })),
  );
  return {
    "mean-dX": meanChart("dX"),
    "mean-dW": meanChart("dW"),
    "dot-variance": lineChart({
      title: "Variance of Q(A)ᵀ · Q(B)",
      x: "b",
      y: "variance",
      lines,
      logX: true,
      logY: true,
    }),
  };
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function table(head: readonly string[], rows: readonly string[][]): string {
  const rule = head.map((_, i) => (i === 0 ? "---" : "---:"));
  return [head, rule, ...rows]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");
}
