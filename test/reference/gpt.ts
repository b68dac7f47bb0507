/** A slow GPT-2 in f64, forward only: the judge of the model's loss, and by differences of its gradient. */
import type { ModelShape } from "../../src/api/run-config.ts";
import type { ParameterTable } from "../../src/model/parameters.ts";
import {
  attentionForward,
  gelu,
  layerNormForward,
  softmaxCrossEntropy,
} from "./layers.ts";
import { matmul } from "./matmul.ts";

export type GptBatch = {
  sequences: number;
  tokens: ArrayLike<number>;
  targets: ArrayLike<number>;
};

/** The sum of cross-entropies, in nats. `parameters` is laid out as `table` says. */
export function lossSum(
  shape: ModelShape,
  table: ParameterTable,
  parameters: Float64Array,
  batch: GptBatch,
): number {
  const { layers, width: C, heads, vocabulary: V } = shape;
  const { sequences: B, tokens, targets } = batch;
  const N = tokens.length;
  const T = N / B;
  const tensor = (name: string): Float64Array => {
    const found = table.tensors.find((t) => t.name === `transformer.${name}`)!;
    return parameters.subarray(found.offset, found.offset + found.length);
  };
  const norm = (x: Float64Array, name: string): Float64Array =>
    layerNormForward(x, tensor(`${name}.weight`), tensor(`${name}.bias`), N, C);
  const linear = (x: Float64Array, name: string): Float64Array => {
    const bias = tensor(`${name}.bias`);
    const weight = tensor(`${name}.weight`);
    const features = weight.length / bias.length;
    const columns = transpose64(weight, features, bias.length);
    return matmul(x, columns, N, bias.length, features).out.map(
      (y, at) => y + bias[at % bias.length],
    );
  };

  const wte = tensor("wte.weight");
  const wpe = tensor("wpe.weight");
  let x = new Float64Array(N * C).map((_, at) => {
    const row = Math.floor(at / C);
    return wte[tokens[row] * C + (at % C)] + wpe[(row % T) * C + (at % C)];
  });
  const plus = (branch: Float64Array) =>
    x.map((value, at) => value + branch[at]);
  for (let layer = 0; layer < layers; layer++) {
    const name = `h.${layer}`;
    const qkv = linear(norm(x, `${name}.ln_1`), `${name}.attn.c_attn`);
    const { out } = attentionForward(qkv, {
      sequences: B,
      length: T,
      heads,
      groups: heads,
      headWidth: C / heads,
    });
    x = plus(linear(out, `${name}.attn.c_proj`));
    const up = linear(norm(x, `${name}.ln_2`), `${name}.mlp.c_fc`);
    x = plus(linear(up.map(gelu), `${name}.mlp.c_proj`));
  }
  const logits = matmul(norm(x, "ln_f"), wte, N, V, C).out;
  return softmaxCrossEntropy(logits, targets, V).lossSum;
}

function transpose64(x: Float64Array, rows: number, columns: number) {
  return new Float64Array(x.length).map(
    (_, at) => x[(at % rows) * columns + Math.floor(at / rows)],
  );
}
