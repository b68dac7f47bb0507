/** The parts of the peers that are used: they are installed only when they are measured. */
declare module "onnxruntime-web" {
  export const env: {
    logLevel: string;
    wasm: { numThreads: number };
  };
  export class Tensor {
    constructor(type: "float32", data: Float32Array, dims: readonly number[]);
  }
  export class InferenceSession {
    static create(
      model: Uint8Array,
      options: { executionProviders: string[] },
    ): Promise<InferenceSession>;
    run(inputs: Record<string, Tensor>): Promise<Record<string, Tensor>>;
  }
}

declare module "@tensorflow/tfjs-core" {
  export type Tensor = { dispose(): void };
  export function tensor2d(
    values: Float32Array,
    shape: [number, number],
  ): Tensor;
  export function matMul(a: Tensor, b: Tensor): Tensor;
  export function setBackend(name: string): Promise<boolean>;
  export function env(): { set(flag: string, value: boolean): void };
}

declare module "@tensorflow/tfjs-backend-wasm" {
  export function setWasmPaths(prefix: string): void;
}
