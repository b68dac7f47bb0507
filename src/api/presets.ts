/**
 * Options that reproduce other quantizers byte for byte, and the paper's (docs/compatibility.md), with the other
 * quantizer's layout if it has one; a GGUF has its own.
 */
import { ALGORITHM_2 } from "./recipe.ts";
import type { Layout, Scheme } from "./scheme.ts";

export type SchemePreset = Partial<Scheme> & { layout?: Layout };

export const SCHEME_PRESETS = {
  ocp: { scale: "floor" },
  microxcaling: { rounding: "nearest-away", scale: "floor" },
  ggml: { rounding: "nearest-zero", scale: "floor", layout: "ggml" },
  "gpt-oss": { scale: "rceil", layout: "gpt-oss" },
  "torchao-ceil": { scale: "ceil", layout: "compressed-tensors" },
  "compressed-tensors": { scale: "even", layout: "compressed-tensors" },
  amd: { scale: "even", minScale: 1, layout: "compressed-tensors" },
  paper: {
    rounding: "stochastic",
    scale: "floor",
    prescale: ALGORITHM_2.prescale,
    hadamard: 64,
  },
} as const satisfies Record<string, SchemePreset>;

export type PresetName = keyof typeof SCHEME_PRESETS;

export const PRESET_NAMES = Object.keys(SCHEME_PRESETS) as PresetName[];
