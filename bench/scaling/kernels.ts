/** What a commit computes, without its edge: seconds of the shards' kernels in this process. */
import type { RunConfig } from "../../src/api/run-config.ts";
import { frameBytes, framePayload, payloadBytes } from "../../src/api/frame.ts";
import {
  applyFrameDelta,
  encodeFrameDelta,
} from "../../src/api/frame-delta.ts";
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
import { median } from "../median.ts";
import type { ModelCosts } from "./model.ts";

const TIMES = 3;

export type Kernels = Pick<ModelCosts, "reduce" | "update" | "difference">;

/** `reduce` is of one microbatch, `difference` of parameters that have moved. */
export function commitKernels(config: RunConfig): Kernels {
  const { table } = modelOf(config.model);
  const range = { index: 0, start: 0, length: table.length };
  const geometry = { config, table, range };
  const state = initialState(geometry);
  const slice = new Uint8Array(
    payloadBytes(config.gradientDtype, SLICE_LENGTH),
  );
  const values = new Float32Array(range.length);
  const dtype = parameterDtype(config);
  const [before, after] = [0, 1].map(
    () => new Uint8Array(frameBytes(dtype, range.length)),
  ) as [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>];
  storeParameters(framePayload(before), dtype, state.parameters);
  const samples = Array.from({ length: TIMES }, () => {
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
    // What has no gradient still decays, by a percent or so.
    const rates = { matrix: 0.1, embedding: 0.1, vector: 0 };
    const update = { step: 0, clipCoefficient: 1, learningRates: rates };
    applyUpdate(geometry, state, update, keptGradient(values));
    storeParameters(framePayload(after), dtype, state.parameters);
    const updated = performance.now();
    const delta = encodeFrameDelta(before, after);
    if (delta) applyFrameDelta(before, delta);
    return {
      reduce: reduced - start,
      update: updated - reduced,
      difference: performance.now() - updated,
    };
  });
  const seconds = (of: keyof (typeof samples)[0]) =>
    median(samples.map((sample) => sample[of])) / 1000;
  return {
    reduce: seconds("reduce") / config.microbatches,
    update: seconds("update"),
    difference: seconds("difference"),
  };
}
