/** The options of the tensor routes, as their queries have them. */
import type { Context } from "hono";
import {
  DEFAULT_SCHEME,
  defaultScale,
  MIN_SCALES,
  PRESCALES,
  ROUNDING_MODES,
  SCALE_RULES,
  type Scheme,
  SEGMENT_CHOICES,
} from "../../formats/blocks/scheme.ts";
import type { Selection } from "../../formats/operations/selection.ts";
import { choice, patterns, wholeNumber } from "../query.ts";

export const SCHEME_OPTIONS = [
  "rounding",
  "scale",
  "prescale",
  "min-scale",
  "hadamard",
  "seed",
];
export const RAW_OPTIONS = ["dtype", "shape"];
export const SELECTION_OPTIONS = ["include", "exclude"];

export function schemeOf(c: Context): Scheme {
  const rounding = choice(
    c,
    "rounding",
    ROUNDING_MODES,
    DEFAULT_SCHEME.rounding,
  );
  return {
    rounding,
    scale: choice(c, "scale", SCALE_RULES, defaultScale(rounding)),
    prescale: choice(c, "prescale", PRESCALES, DEFAULT_SCHEME.prescale),
    minScale: choice(c, "min-scale", MIN_SCALES, DEFAULT_SCHEME.minScale),
    hadamard: choice(c, "hadamard", SEGMENT_CHOICES, DEFAULT_SCHEME.hadamard),
    seed: wholeNumber(c, "seed", DEFAULT_SCHEME.seed),
  };
}

export function selectionOf(c: Context): Selection {
  return { include: patterns(c, "include"), exclude: patterns(c, "exclude") };
}
