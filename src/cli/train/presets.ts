import type { ModelSizes } from "../../api/run-config.ts";

/** Named model sizes for any architecture; the vocabulary is the dataset's. */
export const MODEL_PRESETS = {
  nano: { layers: 2, width: 64, heads: 2, context: 64 },
  tiny: { layers: 4, width: 128, heads: 4, context: 128 },
  small: { layers: 4, width: 256, heads: 4, context: 256 },
  medium: { layers: 6, width: 384, heads: 6, context: 256 },
} as const satisfies Record<string, Omit<ModelSizes, "vocabulary">>;

export type ModelPreset = keyof typeof MODEL_PRESETS;

export const MODEL_PRESET_NAMES = Object.keys(MODEL_PRESETS) as ModelPreset[];
