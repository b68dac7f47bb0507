/** What else multiplies matrices in WebAssembly. Named without loading them: they may not be installed. */
import type { Group, PeerBenchmark } from "../benchmark.ts";
import { macs, nameOf, type Shape, SHAPES } from "../shapes.ts";

export const PEER_GROUPS: readonly Group<PeerBenchmark>[] = SHAPES.map(
  (shape) => ({ name: nameOf(shape), benchmarks: peerBenchmarks(shape) }),
);

function peerBenchmarks(shape: Shape): PeerBenchmark[] {
  const name = nameOf(shape);
  const common = { unit: "GMAC/s", work: macs(shape) } as const;
  const onnxruntime = `peer/onnxruntime-web/gemm-f32/${name}`;
  return [
    {
      ...common,
      name: onnxruntime,
      baselines: [],
      prepare: async () =>
        (await import("./onnxruntime-web.ts")).prepareMatMul(shape),
    },
    {
      ...common,
      name: `peer/onnxruntime-web/matmulnbits/${name}`,
      baselines: [onnxruntime],
      prepare: async () =>
        (await import("./onnxruntime-web.ts")).prepareMatMulNBits(shape),
    },
    {
      ...common,
      name: `peer/tfjs-wasm/gemm-f32/${name}`,
      baselines: [onnxruntime],
      prepare: async () =>
        (await import("./tfjs-wasm.ts")).prepareMatMul(shape),
    },
  ];
}
