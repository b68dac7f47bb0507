/**
 * What else multiplies matrices in WebAssembly, and PyTorch, which takes a whole training step natively. Named
 * without loading them: they may not be installed.
 */
import type { Group, PeerBenchmark } from "../benchmark.ts";
import { macs, nameOf, type Shape, SHAPES } from "../shapes.ts";
import { type StepModel, STEP_MODELS, tokensOf } from "../step.ts";
import { installPeers } from "./install.ts";
import { prepareStep } from "./pytorch-step.ts";

export const PEER_GROUPS: readonly Group<PeerBenchmark>[] = [
  ...SHAPES.map((shape) => ({
    name: nameOf(shape),
    benchmarks: peerBenchmarks(shape),
  })),
  ...STEP_MODELS.map((model) => ({
    name: model.name,
    benchmarks: [stepBenchmark(model)],
  })),
];

function stepBenchmark(model: StepModel): PeerBenchmark {
  return {
    name: `peer/pytorch/step-f32/${model.name}`,
    unit: "tokens/s",
    work: tokensOf(model),
    baselines: [],
    prepare: () => prepareStep(model),
  };
}

function peerBenchmarks(shape: Shape): PeerBenchmark[] {
  const name = nameOf(shape);
  const common = { unit: "GMAC/s", work: macs(shape) } as const;
  const onnxruntime = `peer/onnxruntime-web/gemm-f32/${name}`;
  return [
    {
      ...common,
      name: onnxruntime,
      baselines: [],
      prepare: async () => {
        installPeers();
        return (await import("./onnxruntime-web.ts")).prepareMatMul(shape);
      },
    },
    {
      ...common,
      name: `peer/onnxruntime-web/matmulnbits/${name}`,
      baselines: [onnxruntime],
      prepare: async () => {
        installPeers();
        return (await import("./onnxruntime-web.ts")).prepareMatMulNBits(shape);
      },
    },
    {
      ...common,
      name: `peer/tfjs-wasm/gemm-f32/${name}`,
      baselines: [onnxruntime],
      prepare: async () => {
        installPeers();
        return (await import("./tfjs-wasm.ts")).prepareMatMul(shape);
      },
    },
  ];
}
