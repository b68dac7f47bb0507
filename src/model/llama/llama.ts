/** Llama, and with norms of heads Qwen3: RMSNorm, rotary positions, groups of heads, SwiGLU. */
import type { LlamaShape } from "../../api/run-config.ts";
import type { Pointer } from "../../kernels/arena.ts";
import type { Architecture } from "../model.ts";
import { type Layers, Transformer } from "../transformer.ts";
import {
  type BlockBetween,
  type BlockInside,
  blockRoom,
} from "./activations.ts";
import {
  blockBackward,
  blockBetween,
  blockForward,
  blockInside,
  normBackward,
  normForward,
} from "./block.ts";
import { checkShape, checkTrainingShape, completeShape } from "./config.ts";
import { configOf, shapeOf } from "./hugging-face.ts";
import { llamaTensors, notRead, parameterTable, PREFIX } from "./parameters.ts";

export const LLAMA_ARCHITECTURE: Architecture<LlamaShape> = {
  name: "Llama",
  complete: completeShape,
  check: checkShape,
  checkTraining: checkTrainingShape,
  huggingFaceConfig: configOf,
  importedShape: shapeOf,
  prefix: PREFIX,
  notRead,
  model: (shape) => new Transformer(shape, layersOf(shape)),
};

function layersOf(
  shape: LlamaShape,
): Layers<BlockBetween, BlockInside, Pointer> {
  const table = parameterTable(shape);
  const { tokenEmbedding, head, blocks, finalNorm } = llamaTensors(
    shape,
    table,
  );
  return {
    table,
    tokenEmbedding,
    positionEmbedding: undefined,
    head,
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
    finalForward: (hidden, rstd, x, batch, pass) =>
      normForward(hidden, rstd, x, finalNorm, { shape, batch }, pass),
    finalBackward: (dX, dHidden, rstd, x, batch, pass) =>
      normBackward(dX, dHidden, x, rstd, finalNorm, { shape, batch }, pass),
  };
}
