/** README.md of a quantized directory: what was done, with which options. */
import type { Target } from "./targets.ts";

export type Card = {
  name: string;
  target: Target;
  options: Readonly<Record<string, unknown>>;
  /** Of the rotation that is folded into the weights. */
  foldSeed: number | undefined;
  /** Those that were packed: their shapes before, and SHA-256 of the bytes that stand for each. */
  tensors: readonly {
    name: string;
    shape: readonly number[];
    digest: string;
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
    ...(told.length > 0
      ? told.map(([key, value]) => `- \`${key}\`: \`${JSON.stringify(value)}\``)
      : ["All as they are by default."]),
    "",
    "## Tensors",
    "",
    "| tensor | shape | SHA-256 |",
    "| --- | --- | --- |",
    ...tensors.map(
      ({ name: tensor, shape, digest }) =>
        `| \`${tensor}\` | ${shape.join(" × ")} | \`${digest}\` |`,
    ),
    "",
  ].join("\n");
}

/** README.md of a directory that was decoded. */
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
