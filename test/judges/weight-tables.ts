/** What docs/analyze.md shows of the analyses, as Markdown tables. */
import type { SchemeFigures, TensorFigures } from "../../src/api/tensors.ts";
import { rowsOf } from "../../src/formats/blocks/block-rows.ts";
import { markdownTable } from "./markdown-table.ts";
import type { Kind } from "./onnx-weights.ts";

type AnalyzedMatrix = TensorFigures & { shape: readonly number[]; kind: Kind };

export type AnalyzedModel = {
  title: string;
  total: TensorFigures;
  matrices: AnalyzedMatrix[];
};

const KINDS: Kind[] = [
  "product",
  "recurrent",
  "convolution",
  "pointwise convolution",
  "depthwise convolution",
];
const BITS_PER_ELEMENT = 4.25;
const KURTOSIS_BOUNDS = [0, 3, 5, 20, Infinity];
const PLAIN = "compressed-tensors";
const ROTATED = "hadamard=32";

/** One row a model: the SQNR of all its weights together. */
export function modelTable(models: readonly AnalyzedModel[]): string {
  const shown = shownSchemes(models);
  return markdownTable([
    [
      "SQNR dB in total",
      "weights",
      "kurtosis",
      ...shown.map(code),
      "recommended",
    ],
    ...models.map(({ title, total }) => [
      title,
      `${total.elements}`,
      total.kurtosis!.toFixed(1),
      ...shown.map((scheme) => sqnrOf(total, scheme).toFixed(2)),
      code(total.recommended!),
    ]),
  ]);
}

/** One row a kind of layer: medians over the matrices of all models. */
export function kindTable(models: readonly AnalyzedModel[]): string {
  const shown = shownSchemes(models);
  const all = models.flatMap(({ matrices }) => matrices);
  return markdownTable([
    [
      "median SQNR dB",
      "matrices",
      ...shown.map(code),
      "most often recommended",
      "bits a weight",
      "with `hadamard=64`",
    ],
    ...KINDS.map((kind) => {
      const matrices = all.filter((each) => each.kind === kind);
      return [
        kind,
        `${matrices.length}`,
        ...shown.map((scheme) =>
          median(matrices.map((each) => sqnrOf(each, scheme))).toFixed(2),
        ),
        mostOften(matrices, shown),
        bits(matrices, 0).toFixed(2),
        bits(matrices, 64).toFixed(2),
      ];
    }),
  ]);
}

/** What a rotation that costs no bytes gains, by how far the weights are from normal. */
export function kurtosisTable(models: readonly AnalyzedModel[]): string {
  const whole = models
    .flatMap(({ matrices }) => matrices)
    .filter(({ shape }) => bits([{ shape }], 0) === BITS_PER_ELEMENT);
  const gain = (each: AnalyzedMatrix): number =>
    sqnrOf(each, ROTATED) - sqnrOf(each, PLAIN);
  return markdownTable([
    [
      "kurtosis",
      "matrices",
      code(PLAIN),
      code(ROTATED),
      "median gain dB",
      "least",
      "most",
    ],
    ...KURTOSIS_BOUNDS.slice(1).map((below, i) => {
      const least = KURTOSIS_BOUNDS[i]!;
      const matrices = whole.filter(
        ({ kurtosis }) => kurtosis! >= least && kurtosis! < below,
      );
      const gains = matrices.map(gain);
      const medianOf = (scheme: string): string =>
        median(matrices.map((each) => sqnrOf(each, scheme))).toFixed(2);
      return [
        below === Infinity ? `${least} and more` : `${least} to ${below}`,
        `${matrices.length}`,
        medianOf(PLAIN),
        medianOf(ROTATED),
        median(gains).toFixed(2),
        Math.min(...gains).toFixed(2),
        Math.max(...gains).toFixed(2),
      ];
    }),
  ]);
}

/** One row a scheme: every figure, from the least to the most of the models' totals. */
export function schemeTable(models: readonly AnalyzedModel[]): string {
  const all = models.flatMap(({ matrices }) => matrices);
  return markdownTable([
    [
      "of the models in total",
      "SQNR dB",
      "cosine",
      "max error",
      "clipped",
      "zeroed",
      "matrices where recommended",
    ],
    ...schemesOf(models).map((scheme) => {
      const totals = models.map(({ total }) => figuresOf(total, scheme));
      const range = (
        figure: (figures: SchemeFigures) => number,
        digits: number,
      ): string => {
        const values = totals.map(figure);
        const ends = [Math.min(...values), Math.max(...values)];
        const [least, most] = ends.map((end) => end.toFixed(digits));
        return least === most ? least! : `${least} to ${most}`;
      };
      return [
        code(scheme),
        range(({ sqnrDb }) => sqnrDb!, 2),
        range(({ cosine }) => cosine!, 4),
        range(({ maxError }) => maxError!, 2),
        `${range(({ clipped }) => 100 * clipped, 1)} %`,
        `${range(({ zeroed }) => 100 * zeroed, 1)} %`,
        `${all.filter(({ recommended }) => recommended === scheme).length}`,
      ];
    }),
  ]);
}

function schemesOf(models: readonly AnalyzedModel[]): string[] {
  return models[0]!.total.schemes.map(({ scheme }) => scheme);
}

/** Without those that come to the same as an earlier one in every model, to the digits shown. */
function shownSchemes(models: readonly AnalyzedModel[]): string[] {
  const column = (scheme: string): string =>
    models.map(({ total }) => sqnrOf(total, scheme).toFixed(2)).join();
  const schemes = schemesOf(models);
  const columns = schemes.map(column);
  return schemes.filter((_, i) => columns.indexOf(columns[i]!) === i);
}

function figuresOf(figures: TensorFigures, scheme: string): SchemeFigures {
  return figures.schemes.find((each) => each.scheme === scheme)!;
}

function sqnrOf(figures: TensorFigures, scheme: string): number {
  return figuresOf(figures, scheme).sqnrDb!;
}

/** Rows end in whole blocks, or whole segments. */
function bits(
  matrices: readonly { shape: readonly number[] }[],
  segmentLength: number,
): number {
  const all = matrices.map(({ shape }) => rowsOf(shape, segmentLength));
  const sum = (of: (each: (typeof all)[number]) => number): number =>
    all.reduce((total, each) => total + of(each), 0);
  const stored = sum(({ rows, padded }) => rows * padded);
  return (BITS_PER_ELEMENT * stored) / sum(({ rows, k }) => rows * k);
}

function mostOften(
  matrices: readonly TensorFigures[],
  schemes: readonly string[],
): string {
  const times = (scheme: string): number =>
    matrices.filter(({ recommended }) => recommended === scheme).length;
  const best = schemes.reduce((a, b) => (times(b) > times(a) ? b : a));
  return `${code(best)} (${times(best)})`;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2;
}

function code(name: string): string {
  return `\`${name}\``;
}
