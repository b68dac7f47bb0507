/** Llama, or Qwen3 with head norms: RMSNorm, rotary positions, grouped-query attention, SwiGLU. */
import type { LlamaShape } from "../../api/run-config.ts";
import type { Architecture } from "../model.ts";
import { Transformer } from "../transformer.ts";
import { LLAMA_LAYERS } from "./layers.ts";
import { checkShape, checkTrainingShape, completeShape } from "./config.ts";
import { configOf, fusedIn, trainedShape } from "./hugging-face.ts";
import { llamaTensors, NOT_READ, PREFIX, tiedHead } from "./parameters.ts";

export const LLAMA_ARCHITECTURE: Architecture<LlamaShape> = {
  name: "Llama",
  complete: completeShape,
  check: checkShape,
  checkTraining: checkTrainingShape,
  huggingFaceConfig: configOf,
  importedShape: trainedShape,
  fusedIn,
  prefix: PREFIX,
  notRead: NOT_READ,
  tiedHead,
  model: (shape) => new Transformer(shape, llamaTensors(shape), LLAMA_LAYERS),
};
