/** Which formats of other writers a checkpoint's tensors are in, by their names, dtypes and shapes. */
import type { ModelConfig } from "../formats/roles/model-config.ts";
import type { TensorHead } from "../formats/tensor.ts";

export type RecognizedFormat = {
  format: string;
  /** How many weights are in it. */
  weights: number;
  /** The first of them. */
  example: string;
};

type Heads = ReadonlyMap<string, TensorHead>;

/** Each names the weight that a tensor belongs to, or undefined where it is of none. */
const FORMATS: readonly [
  format: string,
  match: (head: TensorHead, heads: Heads) => string | undefined,
][] = [
  [
    "MXFP4, gpt-oss",
    ({ name, dtype, shape }, heads) =>
      dtype === "U8" && shape.at(-1) === 16
        ? pair(name, heads, [
            /[._]blocks$/,
            (m) => m.replace("blocks", "scales"),
          ])
        : undefined,
  ],
  [
    "MXFP4, compressed-tensors",
    ({ name, dtype, shape }, heads) =>
      dtype === "U8"
        ? pair(name, heads, [/_packed$/, () => "_scale"], groups(shape, 16))
        : undefined,
  ],
  [
    "NVFP4, compressed-tensors",
    ({ name, dtype, shape }, heads) =>
      dtype === "U8"
        ? pair(name, heads, [/_packed$/, () => "_scale"], groups(shape, 8))
        : undefined,
  ],
  [
    "INT4, compressed-tensors",
    ({ name, dtype }, heads) =>
      dtype === "I32"
        ? pair(name, heads, [/_packed$/, () => "_scale"])
        : undefined,
  ],
  [
    "MXFP4, Quark",
    ({ name, dtype, shape }, heads) =>
      dtype === "U8"
        ? pair(name, heads, [/(?<=weight)$/, () => "_scale"], groups(shape, 16))
        : undefined,
  ],
  [
    "MXFP4, MLX",
    ({ name, dtype, shape }, heads) =>
      dtype === "U32" && !heads.has(name.replace(/weight$/, "biases"))
        ? pair(name, heads, [/weight$/, () => "scales"], groups(shape, 4))
        : undefined,
  ],
  [
    "affine INT, MLX",
    ({ name, dtype }, heads) =>
      dtype === "U32" && heads.has(name.replace(/weight$/, "biases"))
        ? pair(name, heads, [/weight$/, () => "scales"])
        : undefined,
  ],
  [
    "MXFP4, DeepSeek",
    ({ name, dtype }, heads) =>
      dtype === "I8"
        ? pair(
            name,
            heads,
            [/weight$/, () => "scale"],
            (scale) => scale.dtype === "F8_E8M0",
          )
        : undefined,
  ],
  [
    "MXFP4, F4 with E8M0 scales",
    ({ name, dtype }, heads) =>
      dtype === "F4"
        ? pair(
            name,
            heads,
            [/$/, () => "_scale"],
            (scale) => scale.dtype === "F8_E8M0",
          )
        : undefined,
  ],
  [
    "FP8",
    ({ name, dtype }) =>
      dtype === "F8_E4M3" || dtype === "F8_E5M2" ? name : undefined,
  ],
  [
    "GPTQ or AWQ INT4",
    ({ name, dtype }) =>
      dtype === "I32" && name.endsWith(".qweight") ? name : undefined,
  ],
];

/** The formats that are there, most weights first, and `floats` for what is in none. */
export function recognizeFormats(
  tensors: readonly TensorHead[],
  config: ModelConfig | undefined,
): RecognizedFormat[] {
  const heads = new Map(tensors.map((head) => [head.name, head]));
  const found = new Map<string, RecognizedFormat>();
  for (const head of tensors) {
    for (const [format, match] of FORMATS) {
      const weight = match(head, heads);
      if (weight === undefined) continue;
      const own = found.get(format) ?? { format, weights: 0, example: weight };
      found.set(format, { ...own, weights: own.weights + 1 });
      break;
    }
  }
  const method = methodOf(config);
  if (method !== undefined && found.size === 0)
    found.set(method, { format: method, weights: 0, example: "config.json" });
  return [...found.values()].toSorted((a, b) => b.weights - a.weights);
}

/** What config.json calls the quantization. */
function methodOf(config: ModelConfig | undefined): string | undefined {
  const own = config?.quantization_config;
  if (typeof own !== "object" || own === null) return undefined;
  const { quant_method: method } = own as Record<string, unknown>;
  return typeof method === "string" ? method : undefined;
}

/** The weight's name where the other tensor of its pair is there, and as `fits` wants it. */
function pair(
  name: string,
  heads: Heads,
  [suffix, other]: [RegExp, (matched: string) => string],
  fits: (scales: TensorHead) => boolean = () => true,
): string | undefined {
  const matched = suffix.exec(name);
  if (!matched) return undefined;
  const stem = name.slice(0, matched.index);
  const scales = heads.get(stem + other(matched[0]));
  return scales && fits(scales) ? stem.replace(/[._]$/, "") : undefined;
}

/** Scales that are one for each `elements` of a row's stored ones. */
function groups(
  shape: readonly number[],
  elements: number,
): (scales: TensorHead) => boolean {
  return (scales) => scales.shape.at(-1) === shape.at(-1)! / elements;
}
