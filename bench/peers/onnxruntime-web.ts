/**
 * onnxruntime-web's WebAssembly back end, one thread: x [T, in] · W [in, out] with W a constant of the
 * model, which the session prepares ahead. An iteration is a call of `run`, which copies x in and the
 * product out: about 1 % at these shapes.
 */
import { InferenceSession, Tensor, env } from "onnxruntime-web";
import type { Clock } from "../benchmark.ts";
import { normals } from "../data.ts";
import { type Shape, TOKENS } from "../shapes.ts";
import { type OneNode, oneNodeModel } from "./onnx-model.ts";

const BLOCK = 32;

export function prepareMatMul(shape: Shape): Promise<Clock> {
  return session(shape, matMul(shape));
}

export function prepareMatMulNBits(shape: Shape): Promise<Clock> {
  return session(shape, matMulNBits(shape));
}

function matMul({ inFeatures, outFeatures }: Shape): OneNode {
  const dims = [inFeatures, outFeatures];
  const data = normals(2, inFeatures * outFeatures);
  return {
    opType: "MatMul",
    domain: "",
    attributes: {},
    ...ends(inFeatures, outFeatures),
    constants: [{ name: "w", dims, data }],
  };
}

/**
 * Weights of 4 bits, a scale for each block of 32. accuracy_level 4 allows activations in 8 bits; the
 * WebAssembly build multiplies in f32 at any level.
 */
function matMulNBits({ inFeatures, outFeatures }: Shape): OneNode {
  const blocks = inFeatures / BLOCK;
  const weights = normals(2, inFeatures * outFeatures);
  const packed = new Uint8Array((inFeatures * outFeatures) / 2);
  for (let i = 0; i < packed.length; i++) {
    packed[i] = nibble(weights[2 * i]) | (nibble(weights[2 * i + 1]) << 4);
  }
  const dims = [outFeatures, blocks, BLOCK / 2];
  const scales = new Float32Array(outFeatures * blocks).fill(0.5);
  return {
    opType: "MatMulNBits",
    domain: "com.microsoft",
    attributes: {
      K: inFeatures,
      N: outFeatures,
      bits: 4,
      block_size: BLOCK,
      accuracy_level: 4,
    },
    ...ends(inFeatures, outFeatures),
    constants: [
      { name: "w", dims, data: packed },
      { name: "scales", dims: [outFeatures * blocks], data: scales },
    ],
  };
}

/** Steps of half a unit around 8, which stands for zero. */
function nibble(value: number): number {
  return Math.min(15, Math.max(0, 8 + Math.round(2 * value)));
}

function ends(inFeatures: number, outFeatures: number) {
  return {
    input: { name: "x", dims: [TOKENS, inFeatures] },
    output: { name: "y", dims: [TOKENS, outFeatures] },
  };
}

async function session({ inFeatures }: Shape, model: OneNode): Promise<Clock> {
  env.wasm.numThreads = 1;
  env.logLevel = "error";
  const created = await InferenceSession.create(oneNodeModel(model), {
    executionProviders: ["wasm"],
  });
  const input = normals(0, TOKENS * inFeatures);
  const x = new Tensor("float32", input, [TOKENS, inFeatures]);
  return async (iterations) => {
    const start = performance.now();
    for (let left = iterations; left > 0; left--) await created.run({ x });
    return (performance.now() - start) / 1000;
  };
}
