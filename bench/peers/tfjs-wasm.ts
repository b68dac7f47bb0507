/**
 * TensorFlow.js on its WebAssembly back end, SIMD, one thread: x [T, in] · W [in, out]. The product
 * stays in its memory, nothing is copied.
 */
import { join } from "node:path";
import { env, matMul, setBackend, tensor2d } from "@tensorflow/tfjs-core";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import type { Clock } from "../benchmark.ts";
import { normals } from "../data.ts";
import { type Shape, TOKENS } from "../shapes.ts";

const BINARIES = join(
  import.meta.dirname,
  "../node_modules/@tensorflow/tfjs-backend-wasm/dist/",
);

export async function prepareMatMul({
  inFeatures,
  outFeatures,
}: Shape): Promise<Clock> {
  setWasmPaths(BINARIES);
  env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
  await setBackend("wasm");
  const x = tensor2d(normals(0, TOKENS * inFeatures), [TOKENS, inFeatures]);
  const w = tensor2d(normals(2, inFeatures * outFeatures), [
    inFeatures,
    outFeatures,
  ]);
  return (iterations) => {
    const start = performance.now();
    for (let left = iterations; left > 0; left--) matMul(x, w).dispose();
    return Promise.resolve((performance.now() - start) / 1000);
  };
}
