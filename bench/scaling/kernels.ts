/** What a commit computes, without its edge: seconds of the shards' kernels in this process. */
import type { RunConfig } from "../../src/api/types.ts";
import { payloadBytes } from "../../src/api/frame.ts";
import { modelOf } from "../../src/model/architectures.ts";
import {
  keptGradient,
  reducedGradient,
  SLICE_LENGTH,
  squaredNorms,
} from "../../src/training/mean-gradient.ts";
import {
  parameterDtype,
  storeParameters,
} from "../../src/training/pulled-parameters.ts";
import { initialState } from "../../src/training/shard-state.ts";
import { applyUpdate } from "../../src/training/shard-update.ts";
import { median } from "./median.ts";

const ROUNDS = 3;

/** `reduce` is of one microbatch. */
export function commitKernels(config: RunConfig): {
  reduce: number;
  update: number;
} {
  const { table } = modelOf(config.model);
  const range = { index: 0, start: 0, length: table.length };
  const geometry = { config, table, range };
  const state = initialState(geometry);
  const slice = new Uint8Array(
    payloadBytes(config.gradientDtype, SLICE_LENGTH),
  );
  const values = new Float32Array(range.length);
  const dtype = parameterDtype(config);
  const frame = new Uint8Array(payloadBytes(dtype, range.length));
  const samples = Array.from({ length: ROUNDS }, () => {
    const start = performance.now();
    const mean = reducedGradient(geometry, 0, (_, index) => {
      const length = Math.min(
        SLICE_LENGTH,
        range.length - index * SLICE_LENGTH,
      );
      return slice.subarray(0, payloadBytes(config.gradientDtype, length));
    });
    squaredNorms(geometry, mean, values);
    const reduced = performance.now();
    const rates = { matrix: 0, embedding: 0, vector: 0 };
    const update = { step: 0, clipCoefficient: 1, learningRates: rates };
    applyUpdate(geometry, state, update, keptGradient(values));
    storeParameters(frame, dtype, state.parameters);
    return { reduce: reduced - start, update: performance.now() - reduced };
  });
  const seconds = (of: "reduce" | "update") =>
    median(samples.map((sample) => sample[of])) / 1000;
  return {
    reduce: seconds("reduce") / config.microbatches,
    update: seconds("update"),
  };
}
