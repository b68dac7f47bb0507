/** GPT-2: learned positions, LayerNorm, GELU, biases, and a head that is the table of tokens. */
import type { Gpt2Shape } from "../../api/run-config.ts";
import { layerNormForward, type RowMoments } from "../../kernels/norms.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { Architecture } from "../model.ts";
import { type Layers, Transformer } from "../transformer.ts";
import {
  blockBackward,
  type BlockBetween,
  blockBetween,
  blockForward,
  blockInside,
  type BlockInside,
  blockRoom,
  normBackward,
  readPair,
} from "./block.ts";
import { checkShape, checkTrainingShape, completeShape } from "./config.ts";
import { configOf, shapeOf } from "./hugging-face.ts";
import { gpt2Tensors, NOT_READ, parameterTable, PREFIX } from "./parameters.ts";

export const GPT2_ARCHITECTURE: Architecture<Gpt2Shape> = {
  name: "GPT-2",
  complete: completeShape,
  check: checkShape,
  checkTraining: checkTrainingShape,
  huggingFaceConfig: configOf,
  importedShape: shapeOf,
  prefix: PREFIX,
  notRead: () => NOT_READ,
  model: (shape) => new Transformer(shape, layersOf(shape)),
};

function layersOf(
  shape: Gpt2Shape,
): Layers<BlockBetween, BlockInside, RowMoments> {
  const table = parameterTable(shape);
  const { tokenEmbedding, positionEmbedding, blocks, finalNorm } = gpt2Tensors(
    shape,
    table,
  );
  const { width: C } = shape;
  return {
    table,
    tokenEmbedding,
    positionEmbedding,
    head: tokenEmbedding,
    room: (sizes) => blockRoom(shape, sizes),
    blockForward: (block, layer, batch, pass) =>
      blockForward(block, blocks[layer]!, { shape, batch, layer }, pass),
    recompute: {
      all: () => undefined,
      products: (block, layer, batch, pass) =>
        blockBetween(block, blocks[layer]!, { shape, batch, layer }, pass),
      inputs: (block, layer, batch, pass) =>
        blockInside(block, blocks[layer]!, { shape, batch, layer }, pass),
    },
    blockBackward: (dResidual, block, layer, batch, pass) => {
      const place = { shape, batch, layer };
      blockBackward(dResidual, block, blocks[layer]!, place, pass);
    },
    finalForward: (hidden, final, x, { N }, { parameters }) =>
      kernels().arena.scope(() => {
        const norm = readPair(parameters, finalNorm);
        layerNormForward(hidden, final, x, norm, N, C);
      }),
    finalBackward: (dX, dHidden, final, x, { N }, pass) =>
      normBackward(dX, dHidden, x, final, finalNorm, N, C, pass),
  };
}
