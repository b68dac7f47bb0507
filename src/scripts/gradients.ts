/**
 * `npm run gradients`: what each recipe makes of the gradients of a trained model, layer by layer, beside f32's; and
 * the paper's experiment on the variance of dot products beside its formula.
 */
import { isUtf8 } from "node:buffer";
import { hash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { AppError } from "../api/errors.ts";
import { type Recipe, RECIPE_NAMES, segmentLength } from "../api/recipe.ts";
import type { RunConfig } from "../api/run-config.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { checkWritable, makeFolder } from "../local/make-folder.ts";
import { architectureOf } from "../model/architectures.ts";
import {
  type CheckpointConfig,
  readCheckpoint,
} from "../training/checkpoint.ts";
import { dataProblems } from "../training/config-problems.ts";
import type { Tokens } from "../training/data.ts";
import { ensureBuilt, ROOT } from "./build/target.ts";
import { BUILD_TARGETS } from "./build/targets.ts";
import { valued } from "../cli/argument.ts";
import { namedModel } from "../cli/named-model.ts";
import { keptCheckpoint } from "../cli/train/kept-runs.ts";
import { dotVariance } from "./gradients/dot-variance.ts";
import { layerErrors } from "../training/layer-errors.ts";
import { observeLayers } from "../training/observed-layers.ts";
import {
  gradientsCharts,
  measuredOn,
  type DotPoint,
  type Measured,
  type MeasuredLayer,
  gradientsPage,
} from "./gradients/page.ts";
import { zeroedShares } from "../training/zeroed-codes.ts";
import { mobyDick } from "../cli/train/moby-dick.ts";
import { UsageError } from "../cli/file-arguments.ts";
import { wholeNumber } from "../cli/numbers.ts";
import { runScript } from "./script.ts";

/** Their backward passes are f32's, or another's. */
const SAME: readonly Recipe[] = [
  "f32",
  "int6-mxfp4-rht-sr",
  "int6-mxfp4-rht-eden",
  "mxfp4-full",
];
const LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096];
const OUTLIER_SHARES = [0, 0.01, 0.1];

/** In the folder of the page. */
const CHARTS = "gradients";

await runScript({
  meta: {
    name: "npm run gradients --",
    description:
      "Compare the gradients of every recipe with those of f32; writes docs/gradients.md",
  },
  args: {
    text: valued(
      "FILE",
      "Text that the batch is drawn from (default: Moby Dick)",
    ),
    draws: valued("N", "Noise draws per recipe, a power of two", "64"),
    out: valued("FOLDER", "Folder for the page and its charts", "docs"),
  },
  operands: {
    name: "checkpoint",
    description: "Checkpoint to read (default: that of the latest run)",
  },
  async run({ args }) {
    const draws = wholeNumber("draws", args.draws, 1);
    if ((draws & (draws - 1)) !== 0)
      throw new UsageError(
        `Expected --draws to be a power of two, got ${draws}`,
      );
    const file = readFileSync(namedModel(keptCheckpoint(args._), "gradients"));
    await ensureBuilt(BUILD_TARGETS.kernels);
    const text = readFileSync(args.text ?? mobyDick());
    const out = resolve(ROOT, args.out);
    // What cannot be written is told before all is measured.
    for (const folder of [out, join(out, CHARTS)]) checkWritable(folder);
    await write(await measure(file, text, draws), out);
  },
});

async function measure(
  file: Uint8Array,
  text: Uint8Array,
  draws: number,
): Promise<Measured> {
  loadKernelsFile();
  const { config, step, tokenizer, tensors } = readCheckpoint(file);
  const isOfBytes = tokenizer.merges.length === 0;
  if (!isOfBytes && !isUtf8(text))
    throw new Error("Expected --text to be UTF-8, got bytes that are not");
  const corpus = isOfBytes ? text : tokenizer.encode(text.toString());
  const dataset = { tokens: corpus.length };
  const [problem] = dataProblems(dataset, config.model);
  if (problem) throw new Error(problem);
  // Where it was kept plays no part.
  const whole = { ...config, dataset } as unknown as RunConfig;
  const observed = await observeLayers(whole, tensors, corpus);
  const recipes = RECIPE_NAMES.filter(
    (recipe) => !SAME.includes(recipe) && isTaken(recipe, config),
  );
  const layers = observed.map((layer): MeasuredLayer => {
    console.log(layer.name);
    const errors = recipes.map((recipe) => [
      recipe,
      layerErrors(layer, recipe, draws),
    ]);
    return {
      name: layer.name,
      zeroed: zeroedShares(layer),
      errors: Object.fromEntries(errors) as MeasuredLayer["errors"],
    };
  });
  const dots = OUTLIER_SHARES.flatMap((outlierShare) =>
    LENGTHS.flatMap((length) =>
      [false, true].map((isRotated): DotPoint => {
        const variance = dotVariance(length, outlierShare, isRotated);
        return { length, outlierShare, isRotated, ...variance };
      }),
    ),
  );
  const isOwnText = tokensDigest(corpus) === config.dataset.digest;
  const subject = measuredOn(config, step, isOwnText);
  return { subject, recipes, draws, layers, dots };
}

function tokensDigest({ buffer, byteOffset, byteLength }: Tokens): string {
  return hash("sha256", new Uint8Array(buffer, byteOffset, byteLength));
}

/** Whether a model of these sizes can be trained by the recipe; where not, says why. */
function isTaken(recipe: Recipe, { model, sequences }: CheckpointConfig) {
  try {
    architectureOf(model).checkTraining(
      model,
      sequences,
      segmentLength(recipe),
    );
    return true;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    console.log(`${recipe} is skipped: ${error.message}`);
    return false;
  }
}

async function write(measured: Measured, out: string): Promise<void> {
  const folder = join(out, CHARTS);
  makeFolder(folder);
  for (const [name, chart] of Object.entries(gradientsCharts(measured)))
    writeFileSync(join(folder, `${name}.svg`), chart);
  const { format } = await import("prettier");
  const formatted = await format(gradientsPage(measured), {
    parser: "markdown",
  });
  writeFileSync(join(out, "gradients.md"), formatted);
  console.log(`written to ${relative(process.cwd(), out) || "."}`);
}
