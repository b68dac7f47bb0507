/** The distributed run against one loop in one process, written here, to the byte. */
import { reset } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import type { RunConfig } from "../../src/api/run-config.ts";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import type { Pointer } from "../../src/kernels/arena.ts";
import { adamW, sumSquares } from "../../src/kernels/vector.ts";
import { evaluateLoss, lossAndGradient } from "../support/model.ts";
import { initialParameters } from "../../src/model/parameters.ts";
import { parameterTable } from "../support/model.ts";
import { readBatch } from "../../src/training/data.ts";
import { updateMatrix } from "../../src/training/optimizer.ts";
import { learningRates } from "../../src/training/schedule.ts";
import { arena } from "../support/kernels.ts";
import { corpus, finish, startRun } from "../support/run.ts";

afterEach(reset);

test.each([
  // 3 = (0 + 1) + 2 and 4 = (0 + 1) + (2 + 3): the tree's two shapes.
  { microbatches: 3, shards: 3, name: "adamw-cosine" },
  { microbatches: 4, shards: 1, name: "adamw" },
  { microbatches: 3, shards: 3, name: "muon" },
  { microbatches: 4, shards: 1, name: "muon" },
] as const)(
  "$name in f32 with two trainers and $microbatches microbatches equals a plain loop to the byte",
  async ({ microbatches, shards, name }) => {
    const { run, status } = await startRun({
      recipe: "f32",
      gradientDtype: "f32",
      microbatches,
      shards,
      optimizer: { name, warmupSteps: 1 },
    });
    await finish(run, ["one", "two"]);
    const metrics = await run.metrics();
    const file = readSafetensors(
      new Uint8Array(await (await run.checkpoint()).arrayBuffer()),
    );

    const expected = await plainLoop(status.config);
    const steps = metrics.slice(0, status.config.steps);
    expect(steps.map((step) => step.trainLoss)).toEqual(expected.losses);
    expect(steps.map((step) => step.gradNorm)).toEqual(expected.norms);
    expect(metrics[0]!.valLoss).toBe(expected.firstValLoss);
    const { tensors } = parameterTable(status.config.model);
    expect(file.tensors).toHaveLength(tensors.length);
    for (const { name, offset, length } of tensors) {
      const { bytes } = file.tensors.find((tensor) => tensor.name === name)!;
      const values = expected.parameters.slice(offset, offset + length);
      expect(bytes, name).toEqual(new Uint8Array(values.buffer));
    }
  },
);

/** Data-parallel training as one would write it without shards, frames or objects. */
async function plainLoop(config: RunConfig) {
  const { model, recipe, seed, steps, microbatches, optimizer } = config;
  const table = parameterTable(model);
  const { length } = table;
  const text = corpus();
  const read = (start: number, count: number) =>
    Promise.resolve(text.subarray(start, start + count));
  let parameters = initialParameters(table, seed, 0, length);
  let m = new Float32Array(length);
  let v = new Float32Array(length);
  const losses: number[] = [];
  const norms: number[] = [];

  const evaluations = await Promise.all(
    [0, 1].map((index) =>
      readBatch(config, { kind: "eval", step: 0, index }, read),
    ),
  );
  const sums = evaluations.map((batch) =>
    arena.scope(() =>
      evaluateLoss(model, recipe, arena.copyIn(parameters), batch),
    ),
  );
  const firstValLoss =
    (sums[0]!.lossSum + sums[1]!.lossSum) / (sums[0]!.tokens + sums[1]!.tokens);

  for (let step = 0; step < steps; step++) {
    const gradients: Float32Array[] = [];
    let lossSum = 0;
    let tokens = 0;
    for (let microbatch = 0; microbatch < microbatches; microbatch++) {
      const batch = await readBatch(
        config,
        { kind: "train", step, index: microbatch },
        read,
      );
      arena.scope(() => {
        const gradient = arena.allocZeroedF32(length);
        const loss = lossAndGradient(
          model,
          recipe,
          arena.copyIn(parameters),
          gradient,
          batch,
          { seed, step, microbatch },
        );
        lossSum += loss.lossSum;
        tokens += loss.tokens;
        gradients.push(arena.f32(gradient, length).slice());
      });
    }
    losses.push(lossSum / tokens);
    const [g0, g1, g2, g3] = gradients as [
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array?,
    ];
    const right = g3 ? sum(g2, g3) : g2;
    const mean = sum(sum(g0, g1), right).map(
      (x) => x * Math.fround(1 / microbatches),
    );
    arena.scope(() => {
      const gradient = arena.copyIn(mean);
      let squares = 0;
      for (let start = 0; start < length; start += 4096) {
        squares += sumSquares(
          gradient + 4 * start,
          Math.min(4096, length - start),
        );
      }
      const norm = Math.sqrt(squares);
      norms.push(norm);
      const state = [parameters, m, v].map((part) => arena.copyIn(part));
      const [parametersAt, mAt, vAt] = state as [Pointer, Pointer, Pointer];
      const rates = learningRates(optimizer, steps, step);
      for (const tensor of table.tensors) {
        const { offset, length: size, group } = tensor;
        const at = 4 * offset;
        if (group === "matrix" && optimizer.name === "muon") {
          const { fround } = Math;
          const beta = fround(optimizer.momentum);
          const momentum = arena.f32(mAt + at, size);
          const direction = mean.subarray(offset, offset + size).map((g, i) => {
            momentum[i] = fround(beta * momentum[i]!) + g;
            return fround(beta * momentum[i]!) + g;
          });
          const { weightDecay } = optimizer;
          const pointer = arena.copyIn(direction);
          updateMatrix(
            tensor,
            parametersAt + at,
            pointer,
            rates.matrix,
            weightDecay,
          );
          continue;
        }
        adamW(parametersAt + at, mAt + at, vAt + at, gradient + at, size, {
          updates: step + 1,
          learningRate: rates[group],
          beta1: optimizer.beta1,
          beta2: optimizer.beta2,
          epsilon: optimizer.epsilon,
          weightDecay: group === "vector" ? 0 : optimizer.weightDecay,
          gradientScale: norm > optimizer.clip ? optimizer.clip / norm : 1,
        });
      }
      [parameters, m, v] = state.map((at) => arena.f32(at, length).slice()) as [
        typeof parameters,
        typeof m,
        typeof v,
      ];
    });
  }
  return { parameters, losses, norms, firstValLoss };
}

function sum(a: Float32Array, b: Float32Array): Float32Array {
  return a.map((x, i) => x + b[i]!);
}
