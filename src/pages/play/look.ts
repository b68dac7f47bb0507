/** Analyzes one tensor with a scheme: figures as in the API's analysis, histograms, and one block step by step. */
import { invalidOption } from "../../api/option-kinds.ts";
import { SCHEME_PRESETS } from "../../api/presets.ts";
import type { Analysis, SchemeOptions } from "../../api/tensors.ts";
import { sortedPositions } from "../../formats/blocks/block-pieces.ts";
import { schemeOf } from "../../formats/blocks/scheme.ts";
import type { TensorFile } from "../../formats/containers/container.ts";
import { type FloatDtype, isFloat } from "../../formats/dtype.ts";
import { analysisOf } from "../../formats/operations/file-operation.ts";
import { run } from "../../formats/stream/conversion.ts";
import type { TensorRange } from "../../formats/tensor.ts";
import { comparedSchemes } from "./compared-schemes.ts";
import { piecesOf } from "./loaded-pieces.ts";
import { dataAround, headOf } from "./local-files.ts";
import { type Spread, spreadOf } from "./spread.ts";
import {
  WALK_LENGTH,
  type Walk,
  walk,
  type Walked,
  walkedBlock,
} from "./walk.ts";

export type Look = Spread & {
  name: string;
  dtype: string;
  shape: readonly number[];
  figures: Analysis["tensors"][number];
  rule: string;
  walks: Walk[];
  walked: Walked;
};

/** Pieces of the tensor's front for histograms. */
const MOST_PIECES = 16;
const ALGORITHMS: readonly [string, SchemeOptions][] = [
  ["Algorithm 1: to nearest", SCHEME_PRESETS.ocp],
  [
    "Algorithm 2: stochastic, × 3/4",
    { rounding: "stochastic", scale: "floor", prescale: 0.75 },
  ],
  ["Algorithm 3: rotated, then 2", SCHEME_PRESETS.paper],
];

/** `block`: as in `walkedBlock`. */
export async function lookAt(
  file: Blob,
  name: string,
  options: SchemeOptions,
  block: number,
  tell: (share: number) => void,
): Promise<Look> {
  const head = await headOf(file);
  const tensor = head.tensors.find((each) => each.name === name);
  if (!tensor || !isFloat(tensor.dtype) || tensor.shape.length === 0)
    throw invalidOption(
      `a tensor of floats with a dimension, named "${name}"`,
      tensor ? `${tensor.dtype} [${tensor.shape.join(", ")}]` : "none",
    );
  const { tensors, rule } = await analyze(file, head, tensor, options, tell);
  const scheme = schemeOf(options);
  const position = sortedPositions(head.tensors).get(name)!;
  const floats = tensor as TensorRange<FloatDtype>;
  const pieces = await piecesOf(
    file,
    head,
    floats,
    scheme.hadamard,
    MOST_PIECES,
  );
  const spread = spreadOf(pieces, floats.dtype, scheme, position);
  const [front] = await piecesOf(file, head, floats, WALK_LENGTH, 1);
  const walked = walkedBlock(front!.piece, tensor.shape.at(-1)!, block);
  return {
    name,
    dtype: tensor.dtype,
    shape: tensor.shape,
    // The name, used as a pattern, may match other tensors too, whose data is not read.
    figures: tensors.find((each) => each.name === name)!,
    rule,
    ...spread,
    walked,
    walks: ALGORITHMS.map(([title, told]) =>
      walk(
        front!,
        floats,
        title,
        schemeOf({ ...told, seed: scheme.seed }),
        position,
        walked,
      ),
    ),
  };
}

/** Compares all presets and the chosen scheme; reads only the tensor's bytes of the file. */
async function analyze(
  file: Blob,
  head: TensorFile,
  tensor: TensorRange,
  options: SchemeOptions,
  tell: (share: number) => void,
): Promise<Analysis> {
  const { conversion, report } = analysisOf({
    ...options,
    compare: comparedSchemes(options),
    include: [tensor.name],
  })(head);
  // There is no output; iterating only runs the analysis.
  for await (const _ of run(conversion, dataAround(file, head, tensor, tell)));
  return report();
}
