/** Every choice that the bytes of a quantized tensor depend on, and the named sets of them. */
import { SEGMENT_LENGTHS, type SegmentLength } from "../../kernels/hadamard.ts";
import {
  NEAREST_MODES,
  SCALE_RULES,
  type ScaleRule,
} from "../../kernels/mx.ts";
import { type Prescale } from "../../kernels/mxfp4.ts";

export const ROUNDING_MODES = [...NEAREST_MODES, "stochastic"] as const;
export const PRESCALES = [1, 0.75] as const;
export const SEGMENT_CHOICES = [0, ...SEGMENT_LENGTHS] as const;
export const MIN_SCALES = [0, 1] as const;
export { SCALE_RULES };

export type RoundingMode = (typeof ROUNDING_MODES)[number];

export type Scheme = {
  rounding: RoundingMode;
  scale: ScaleRule;
  prescale: Prescale;
  /** The least scale byte. */
  minScale: 0 | 1;
  /** Length of an RHT segment along the last dimension; 0: none. */
  hadamard: SegmentLength | 0;
  seed: number;
};

/** What is not chosen otherwise. Stochastic rounding is unbiased only if nothing clips. */
export function defaultScale(rounding: RoundingMode): ScaleRule {
  return rounding === "stochastic" ? "rceil" : "floor";
}

export const DEFAULT_SCHEME: Scheme = {
  rounding: "nearest-even",
  scale: "floor",
  prescale: 1,
  minScale: 0,
  hadamard: 0,
  seed: 0,
};

/** The choices that reproduce the bytes of others (docs/compatibility.md), and the paper's. */
export const PRESETS = {
  ocp: {},
  microxcaling: { rounding: "nearest-away" },
  ggml: { rounding: "nearest-zero" },
  "gpt-oss": { scale: "rceil" },
  "torchao-ceil": { scale: "ceil" },
  "compressed-tensors": { scale: "even" },
  amd: { scale: "even", minScale: 1 },
  paper: { rounding: "stochastic", prescale: 0.75, hadamard: 64 },
} as const satisfies Record<string, Partial<Scheme>>;

export type PresetName = keyof typeof PRESETS;

/** Why readers that know nothing of us would get other values; none where they get the same. */
export function notPlain(scheme: Scheme, padsRows: boolean): string[] {
  return [
    ...(scheme.prescale === 1
      ? []
      : ["values were multiplied by 3/4: multiply by 4/3"]),
    ...(scheme.hadamard === 0
      ? []
      : [
          `segments of ${scheme.hadamard} were rotated: apply the inverse RHT of the seed`,
        ]),
    ...(padsRows
      ? ["rows end in zeros up to whole blocks: cut to the recorded shape"]
      : []),
  ];
}

/** Why E[decoded] is not the input; undefined where it is. */
export function bias({
  rounding,
  scale,
  prescale,
}: Scheme): string | undefined {
  if (rounding !== "stochastic") return "nearest rounding";
  const clips = scale === "floor" || scale === "even";
  if (clips && prescale === 1)
    return "magnitudes above 6 times their scale are clipped";
  return undefined;
}
