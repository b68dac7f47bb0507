/**
 * Schemes to compare: names of presets, `all`, or options that differ from a base, as in
 *
 *   ocp, gpt-oss, rounding=stochastic;hadamard=64
 */
import { AppError } from "../../api/errors.ts";
import type { NamedScheme } from "./analyze-file.ts";
import {
  DEFAULT_SCHEME,
  defaultScale,
  MIN_SCALES,
  PRESCALES,
  PRESETS,
  type PresetName,
  ROUNDING_MODES,
  SCALE_RULES,
  type Scheme,
  SEGMENT_CHOICES,
} from "../blocks/scheme.ts";

const MAX_SCHEMES = 16;
const PRESET_NAMES = Object.keys(PRESETS) as PresetName[];

/** What an option list may change, and the field of the scheme that it is. */
const CHOICES = {
  rounding: ["rounding", ROUNDING_MODES],
  scale: ["scale", SCALE_RULES],
  prescale: ["prescale", PRESCALES],
  "min-scale": ["minScale", MIN_SCALES],
  hadamard: ["hadamard", SEGMENT_CHOICES],
} as const;

/** Without names, the one scheme that is the base; with them, each starts from its seed. */
export function namedSchemes(
  base: Scheme,
  names?: readonly string[],
): NamedScheme[] {
  if (names === undefined) return [{ name: "query", scheme: base }];
  const items = names.flatMap((item) =>
    item === "all" ? PRESET_NAMES : [item],
  );
  if (items.length > MAX_SCHEMES) {
    throw invalid(`at most ${MAX_SCHEMES} schemes`, `${items.length}`);
  }
  return items.map((name) => ({
    name,
    scheme: Object.hasOwn(PRESETS, name)
      ? { ...DEFAULT_SCHEME, seed: base.seed, ...PRESETS[name as PresetName] }
      : changed(base, name),
  }));
}

/** The base with the options of a list changed. */
function changed(base: Scheme, list: string): Scheme {
  const scheme: Record<string, string | number> = { ...base };
  for (const option of list.split(";")) {
    const [name = "", value] = option.split("=");
    if (!Object.hasOwn(CHOICES, name) || value === undefined) {
      throw invalid(
        `\`all\`, ${PRESET_NAMES.join(", ")}, or ${Object.keys(CHOICES).join(", ")} with a value`,
        `"${option}"`,
      );
    }
    const [field, choices] = CHOICES[name as keyof typeof CHOICES];
    const chosen = choices.find((each) => `${each}` === value);
    if (chosen === undefined)
      throw invalid(`${name} of ${choices.join(", ")}`, `"${value}"`);
    scheme[field] = chosen;
    if (name === "rounding" && !list.includes("scale="))
      scheme.scale = defaultScale(chosen as Scheme["rounding"]);
  }
  return scheme as unknown as Scheme;
}

function invalid(expected: string, got: string): AppError {
  return new AppError(
    "invalid_option",
    `Expected \`compare\` to have ${expected}, got ${got}`,
  );
}
