/** README.md of a quantized directory: what was done, with which options. */
import type { ErrorFigure } from "./error-figures.ts";
import type { Layout, Target } from "../api/scheme.ts";

export type Card = {
  name: string;
  target: Target;
  options: Readonly<Record<string, unknown>>;
  /** Seed of the rotation folded into the weights, if any. */
  foldSeed: number | undefined;
  /** The quantized tensors: original shapes, SHA-256 of their bytes, and errors if measured. */
  tensors: readonly {
    name: string;
    shape: readonly number[];
    digest: string;
    errors: ErrorFigure | undefined;
  }[];
  bytesBefore: number;
  bytesAfter: number;
};

export function modelCard(card: Card): string {
  const { name, target, options, foldSeed } = card;
  const { tensors, bytesBefore, bytesAfter } = card;
  const told = Object.entries(options).filter(
    ([, value]) => value !== undefined,
  );
  const share = ((100 * bytesAfter) / bytesBefore).toFixed(1);
  return [
    `# ${name} in MXFP4`,
    "",
    "Weights of linear layers are E2M1 with an E8M0 scale for each 32 along the axis that is contracted;",
    `all else is as it was. Written for ${target} by mxfp4-edge.`,
    "",
    `${tensors.length} tensors are packed: ${bytesBefore} bytes became ${bytesAfter} (${share} %).`,
    "",
    ...(foldSeed === undefined
      ? []
      : [
          `A rotation of 32 is folded into the weights, its signs drawn from seed ${foldSeed}, and the norms' weights into`,
          "the matrices behind them: the model computes what it did, in another basis.",
          "",
        ]),
    "## Options",
    "",
    ...told.map(([key, value]) => `- \`${key}\`: \`${JSON.stringify(value)}\``),
    "",
    "## Tensors",
    "",
    ...tensorTable(tensors),
    "",
  ].join("\n");
}

function tensorTable(tensors: Card["tensors"]): string[] {
  if (tensors.every(({ errors }) => errors === undefined))
    return [
      "| tensor | shape | SHA-256 |",
      "| --- | --- | --- |",
      ...tensors.map(
        ({ name, shape, digest }) =>
          `| \`${name}\` | ${shape.join(" × ")} | \`${digest}\` |`,
      ),
    ];
  return [
    "SQNR is 10 · log10(Σ x² / Σ (x − y)²) of the values x before and y as decoded; the largest error is max |x − y|.",
    "",
    "| tensor | shape | SQNR, dB | largest error | SHA-256 |",
    "| --- | --- | --- | --- | --- |",
    ...tensors.map(({ name, shape, errors, digest }) => {
      const sqnr = errors?.sqnrDb?.toFixed(2) ?? "none";
      const most = errors?.maxError?.toPrecision(3) ?? "none";
      return `| \`${name}\` | ${shape.join(" × ")} | ${sqnr} | ${most} | \`${digest}\` |`;
    }),
  ];
}

/** README.md of a decoded directory. */
export function decodedCard(
  name: string,
  dtype: string,
  tensors: readonly string[],
): string {
  return [
    `# ${name} in ${dtype}`,
    "",
    `The values of ${tensors.length} tensors in blocks, as ${dtype}, decoded by mxfp4-edge; all else is as it was.`,
    "",
    ...tensors.map((tensor) => `- \`${tensor}\``),
    "",
  ].join("\n");
}

/** README.md of a directory converted to another layout. */
export function repackedCard({
  name,
  layout,
  loaders,
  tensors,
}: {
  name: string;
  layout: Layout;
  /** The loaders that load it. */
  loaders: readonly string[];
  tensors: readonly {
    name: string;
    shape: readonly number[];
    digest: string;
  }[];
}): string {
  const told = tensors.map((tensor) => ({ ...tensor, errors: undefined }));
  const what =
    layout === "ggml"
      ? "Digests are of ggml's blocks."
      : "Digests are of codes and then scales: every layout but ggml's has the same.";
  return [
    `# ${name} in layout ${layout}`,
    "",
    `The blocks of ${tensors.length} tensors, moved by mxfp4-edge and decoded by nobody: codes and scales are those of before, and so`,
    `is each value; all else is as it was. Loaded by ${loaders.join(", ") || "no loader that is known"}. ${what}`,
    "",
    ...tensorTable(told),
    "",
  ].join("\n");
}
