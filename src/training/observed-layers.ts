/** The operands of a checkpoint's linear layers in the backward pass of one batch, in f32. */
import type { Lease } from "../api/lease.ts";
import type { RunConfig } from "../api/run-config.ts";
import { kernels } from "../kernels/runtime.ts";
import { finish } from "../kernels/steps.ts";
import { modelOf } from "../model/architectures.ts";
import { flatGradient, flatParameters } from "../model/flat-vector.ts";
import type { Linear } from "../model/linear.ts";
import type { Batch } from "../model/model.ts";
import { PackedWeights } from "../model/packed-weights.ts";
import { readBatch } from "./data.ts";

/** `name` is, for example, `block 2, MLP up`. */
export type ObservedLayer = Omit<Linear, "readWeight"> & {
  name: string;
  tokens: number;
  /** [in, out] or [out, in], as `layout` says. */
  weight: Float32Array<ArrayBuffer>;
  /** [tokens, in] */
  input: Float32Array<ArrayBuffer>;
  /** [tokens, out] */
  dOutput: Float32Array<ArrayBuffer>;
};

/** Observes the first training microbatch of `config` over `corpus`, with a checkpoint's parameters. */
export async function observeLayers(
  config: RunConfig,
  tensors: ReadonlyMap<string, Uint8Array>,
  corpus: Uint16Array | Uint8Array,
): Promise<ObservedLayer[]> {
  const read = (start: number, length: number) =>
    Promise.resolve(corpus.subarray(start, start + length));
  const lease = { kind: "train", step: config.steps, index: 0 } as const;
  const batch = await readBatch(config, lease, read);
  const { table } = modelOf(config.model);
  const parameters = new Float32Array(table.length);
  const bytes = new Uint8Array(parameters.buffer);
  for (const { name, offset } of table.tensors)
    bytes.set(tensors.get(name)!, 4 * offset);
  return observeMicrobatch(config, parameters, batch, lease);
}

/** Observes one training microbatch; `flat` is f32 [all parameters], `batch` its tokens. */
export function observeMicrobatch(
  { model: shape, seed }: Pick<RunConfig, "model" | "seed">,
  flat: Float32Array,
  batch: Batch,
  { step, index: microbatch }: Pick<Lease, "step" | "index">,
): ObservedLayer[] {
  const model = modelOf(shape);
  const layers: ObservedLayer[] = [];
  const { arena } = kernels();
  arena.scope(() => {
    const { table } = model;
    const parameters = arena.copyIn(flat);
    const gradient = arena.allocF32(table.length);
    const steps = model.lossAndGradient(
      {
        recipe: "f32",
        parameters: flatParameters(parameters),
        packedWeights: new PackedWeights(),
        gradient: flatGradient(gradient, table),
        noise: { seed, step, microbatch },
        keeps: "all",
        observe: (linear, dOutput, input, tokens) => {
          const { readWeight, ...place } = linear;
          const { layer, inFeatures, outFeatures } = place;
          const copy = (pointer: number, length: number) =>
            arena.f32(pointer, length).slice();
          arena.scope(() =>
            layers.push({
              ...place,
              name: `block ${layer}, ${place.name}`,
              tokens,
              weight: copy(readWeight(), inFeatures * outFeatures),
              input: copy(input, tokens * inFeatures),
              dOutput: copy(dOutput, tokens * outFeatures),
            }),
          );
        },
      },
      batch,
    );
    finish(steps);
  });
  return layers.sort((a, b) => a.layer - b.layer || a.index - b.index);
}
