/** Text from a checkpoint, by the kernels in this process. */
import type { ModelShape } from "../api/types.ts";
import { readSafetensors } from "../formats/containers/safetensors.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { generate } from "../model/generate.ts";
import { modelOf } from "../model/architectures.ts";
import { flatParameters } from "../model/flat-vector.ts";

/** The prompt and `tokens` tokens after it, from the file's bytes of a byte-level model. */
export function sampleText(
  checkpoint: Uint8Array,
  shape: ModelShape,
  prompt: string,
  tokens: number,
): string {
  const { arena } = loadKernelsFile();
  const { tensors } = readSafetensors(checkpoint);
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor.bytes]));
  const model = modelOf(shape);
  const text = arena.scope(() => {
    const parameters = arena.allocZeroedF32(model.table.length);
    for (const { name, offset } of model.table.tensors) {
      const bytes = byName.get(name);
      if (!bytes) throw new Error(`Expected \`${name}\` in the checkpoint`);
      arena.u8(parameters + offset * 4, bytes.length).set(bytes);
    }
    const start = new TextEncoder().encode(prompt);
    return generate(model, flatParameters(parameters), start, {
      tokens,
      temperature: 0.8,
      topK: 40,
    });
  });
  return prompt + new TextDecoder().decode(Uint8Array.from(text));
}
