/** GPT-2: learned positions, LayerNorm, GELU, biases, and a head tied to the token embedding. */
import type { Gpt2Shape } from "../../api/run-config.ts";
import type { Architecture } from "../model.ts";
import { Transformer } from "../transformer.ts";
import { GPT2_LAYERS } from "./layers.ts";
import { checkShape, checkTrainingShape, completeShape } from "./config.ts";
import { configOf, shapeOf } from "./hugging-face.ts";
import { gpt2Tensors, NOT_READ, PREFIX, TIED_HEAD } from "./parameters.ts";

export const GPT2_ARCHITECTURE: Architecture<Gpt2Shape> = {
  name: "GPT-2",
  complete: completeShape,
  check: checkShape,
  checkTraining: checkTrainingShape,
  huggingFaceConfig: configOf,
  importedShape: shapeOf,
  prefix: PREFIX,
  notRead: NOT_READ,
  tiedHead: () => TIED_HEAD,
  fusedIn: () => ({}),
  model: (shape) => new Transformer(shape, gpt2Tensors(shape), GPT2_LAYERS),
};
