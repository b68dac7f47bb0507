/**
 * What else multiplies matrices in WebAssembly, and PyTorch and llama.cpp, which take a whole training step, and
 * write the next token, natively. Named without loading them: they may not be installed.
 */
import type { Group, PeerBenchmark } from "../benchmark.ts";
import { GENERATE_MODELS, PAST_TOKENS } from "../generate.ts";
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
  ...Object.entries(GENERATE_MODELS).map(([name, shape]) => ({
    name: `generate ${name}`,
    benchmarks: (["f32", "mxfp4"] as const).map((format): PeerBenchmark => ({
      name: `peer/llama.cpp/generate-${format}/${name}`,
      unit: "tokens/s",
      work: 1,
      baselines: [`generate/${format}/${name}`],
      prepare: async () =>
        (await import("./llama-cpp.ts")).prepareNextToken(
          shape,
          format,
          PAST_TOKENS,
        ),
    })),
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
