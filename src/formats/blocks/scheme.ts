/** Builds schemes from options, and tells how other readers decode their bytes. */
import {
  type PresetName,
  SCHEME_PRESETS,
  type SchemePreset,
} from "../../api/presets.ts";
import {
  type RoundingMode,
  SCHEME_OPTIONS,
  type ScaleRule,
  type Scheme,
} from "../../api/scheme.ts";
import type { SchemeOptions } from "../../api/tensors.ts";
import { BLOCK_FORMATS } from "./block-formats.ts";

/** The default scale rule. Stochastic rounding is only unbiased if nothing clips. */
function defaultScale(rounding: RoundingMode): ScaleRule {
  return rounding === "stochastic" ? "rceil" : SCHEME_OPTIONS.scale.default;
}

const SCHEME_NAMES = Object.keys(SCHEME_OPTIONS) as (keyof Scheme)[];

/** Explicit options, then the preset's, then defaults. */
export function schemeOf(options: SchemeOptions): Scheme {
  const chosen = presetOf(options);
  const rounding = options.rounding ?? chosen.rounding;
  // A preset's floor scale clips, which is wrong if stochastic rounding is set explicitly.
  const isFloorLeft = rounding === "stochastic" && rounding !== chosen.rounding;
  const choice = (name: keyof Scheme) =>
    name === "scale" && isFloorLeft && chosen.scale === "floor"
      ? undefined
      : chosen[name];
  const values = SCHEME_NAMES.map((name) => {
    const fallback =
      name === "scale" && rounding !== undefined
        ? defaultScale(rounding)
        : SCHEME_OPTIONS[name].default;
    return [name, options[name] ?? choice(name) ?? fallback];
  });
  return Object.fromEntries(values) as Scheme;
}

/** The choices of the preset, if there is one. */
export function presetOf({
  preset,
}: {
  preset?: PresetName | undefined;
}): SchemePreset {
  return preset === undefined ? {} : SCHEME_PRESETS[preset];
}

export const DEFAULT_SCHEME = schemeOf({});

/** Why readers without our metadata would get other values; empty if they get the same. */
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

/** Why E[decoded] is not the input; undefined if it is. */
export function bias(scheme: Scheme): string | undefined {
  const { format, rounding, scale: rule, prescale } = scheme;
  if (rounding !== "stochastic") return "nearest rounding";
  const clips = rule === "floor" || rule === "even";
  if (clips && prescale === 1)
    return `magnitudes above ${BLOCK_FORMATS[format].max} times their scale are clipped`;
  return undefined;
}
