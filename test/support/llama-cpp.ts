/** llama.cpp itself, on the CPU: the next-token distributions of a GGUF. */
import { join } from "node:path";
import { judge } from "../judges/install.ts";

/** The platforms that it comes built for. */
export const HAS_LLAMA_CPP =
  process.arch === "x64" && process.platform === "linux";

/** The part of node-llama-cpp that is used. */
type Llama = {
  loadModel(options: object): Promise<{
    tokenize(text: string, special?: boolean): number[];
    detokenize(tokens: readonly number[]): string;
    isEogToken(token: number): boolean;
    createContext(options: object): Promise<{
      getSequence(): {
        controlledEvaluate(
          input: [number, object][],
        ): Promise<
          ({ next: { probabilities?: Map<number, number> } } | undefined)[]
        >;
        eraseContextTokenRanges(
          ranges: { start: number; end: number }[],
        ): Promise<void>;
      };
    }>;
    dispose(): Promise<void>;
  }>;
  dispose(): Promise<void>;
};

type Model = Awaited<ReturnType<Llama["loadModel"]>>;

let running: Promise<Llama> | undefined;

async function start(): Promise<Llama> {
  const module = (await import(
    join(judge("node-llama-cpp"), "dist/index.js")
  )) as { getLlama(options: object): Promise<Llama> };
  return module.getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    logLevel: "error",
    maxThreads: 1,
  });
}

/** What `use` makes of the model in a file. It goes on running for the next. */
export async function withLlamaCpp<T>(
  path: string,
  use: (model: Model) => Promise<T>,
): Promise<T> {
  const llama = await (running ??= start());
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
  try {
    return await use(model);
  } finally {
    await model.dispose();
  }
}

/** A model with a context on one thread, for as long as it is used. */
export async function openModel(path: string, contextSize: number) {
  const llama = await (running ??= start());
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
  const context = await model.createContext({ contextSize, threads: 1 });
  return { sequence: context.getSequence(), close: () => model.dispose() };
}

export async function stopLlamaCpp(): Promise<void> {
  await (await running)?.dispose();
  running = undefined;
}

/** After each of `tokens`, the probability of each token of the vocabulary. */
export function nextTokens(
  path: string,
  tokens: ArrayLike<number>,
  vocabulary: number,
): Promise<Float64Array[]> {
  return withLlamaCpp(path, async (model) => {
    const context = await model.createContext({
      contextSize: 64,
      // As exact as it has them: keys and values are f16 unless told, and its faster attention's products too.
      flashAttention: false,
      experimentalKvCacheKeyType: "F32",
      experimentalKvCacheValueType: "F32",
    });
    const results = await context
      .getSequence()
      .controlledEvaluate(
        Array.from(tokens, (token) => [
          token,
          { generateNext: { probabilities: true } },
        ]),
      );
    return results.map((result) =>
      Float64Array.from(
        { length: vocabulary },
        (_, token) => result!.next.probabilities!.get(token) ?? 0,
      ),
    );
  });
}

/** Softmax of each row. */
export function distributions(
  rows: readonly ArrayLike<number>[],
): Float64Array[] {
  return rows.map((logits) => {
    const row = Float64Array.from(logits);
    const top = Math.max(...row);
    const powers = row.map((x) => Math.exp(x - top));
    const sum = powers.reduce((all, x) => all + x, 0);
    return powers.map((x) => x / sum);
  });
}

/** Half the sum of |p − q| over the vocabulary, the most over all positions. */
export function totalVariation(
  a: readonly Float64Array[],
  b: readonly Float64Array[],
): number {
  const each = a.map(
    (p, row) => p.reduce((sum, x, i) => sum + Math.abs(x - b[row]![i]!), 0) / 2,
  );
  return Math.max(...each);
}
